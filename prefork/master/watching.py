"""The watcher, as the master sees it: what it is told to look at, and what its word does.

It decides nothing: a change is a reload asked for, like SIGHUP. `keeping.py` keeps it alive.
"""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable, Iterator

import msgspec

from prefork.config.model import Config
from prefork.core import events as on
from prefork.ipc import messages as say
from prefork.ipc.codec import Reader, encode, read_from_watcher
from prefork.master.keeping import Helper, Keeper
from prefork.system import clock
from prefork.system.spawning import Spawned, spawn_watcher

logger = logging.getLogger("prefork.master")

WatcherHelper = Helper[say.WatcherToMaster, say.Watch]


class Watching:
    """Has one watcher, or none. `ask_reload` gives the events of a reload, as SIGHUP does."""

    what = "watcher"
    silence_s: float | None = None

    def __init__(
        self, selector: selectors.BaseSelector, ask_reload: Callable[[], Iterator[on.AnyEvent]]
    ) -> None:
        self._ask_reload = ask_reload
        self._keeper: Keeper[say.WatcherToMaster, say.Watch] = Keeper(selector, self)
        self._code_read_ns = clock.wall_ns()

    @property
    def deadline(self) -> float | None:
        """When `tend` has something to do although nothing happens."""
        return self._keeper.deadline

    def note_reading(self) -> None:
        """Configuration and code are about to be read: whatever changes from now on has not been read."""
        self._code_read_ns = clock.wall_ns()

    def tend(self, config: Config, *, is_wanted: bool) -> None:
        """Have a watcher for this configuration, or none. For every turn of the loop."""
        self._keeper.tend(_make_order(config) if is_wanted and config.reload else None)

    def end(self) -> None:
        """The service has ended: so has the watcher."""
        self._keeper.end()

    # the keeper's owner

    def spawn(self) -> Spawned:
        return spawn_watcher()

    def make_reader(self) -> Reader[say.WatcherToMaster]:
        return read_from_watcher()

    def give_order(self, helper: WatcherHelper) -> None:
        helper.channel.send(encode(msgspec.structs.replace(helper.order, since_ns=self._code_read_ns)))

    def hear(self, helper: WatcherHelper, messages: list[say.WatcherToMaster]) -> Iterator[on.AnyEvent]:
        has_changed = False
        for message in messages:
            match message:
                case say.Watching():
                    _log_watching(helper, message)
                case say.Changed():
                    logger.info("change seen", extra={"files": _name_files(helper.order, message)})
                    has_changed = True
        if has_changed:
            yield from self._ask_reload()


def _make_order(config: Config) -> say.Watch:
    return say.Watch(
        name=config.name,
        dirs=config.reload_dir,
        files=config.read_from,
        include=config.reload_include,
        exclude=config.reload_exclude,
        since_ns=0,
        user=config.user,
        group=config.group,
    )


def _log_watching(watcher: WatcherHelper, message: say.Watching) -> None:
    extra: dict[str, object] = {
        "dirs": " ".join(watcher.order.dirs),
        "by": message.by,
        "files": message.files,
    }
    if message.why:
        extra |= {"why": message.why}
    logger.info("watching for changes", extra=extra | {"pid": watcher.pid})


def _name_files(order: say.Watch, message: say.Changed) -> str:
    """`main.py, shop/views.py and 48 more`, as seen from the directories that are watched."""
    names = []
    for path in message.paths:
        above = next((place for place in order.dirs if path.startswith(f"{place.rstrip('/')}/")), "")
        names.append(path[len(above) :].lstrip("/") if above else path)
    more = message.count - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
