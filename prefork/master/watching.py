"""The watcher's keeper: starts it, hears it, starts it again when it has died, ends it.

It never waits for it, and decides nothing: a change is a reload asked for, like SIGHUP.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Callable, Iterator

import msgspec

from prefork.config.model import Config
from prefork.core import events as on
from prefork.core.respawn import delay_s
from prefork.errors import ProtocolError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_watcher
from prefork.system import clock, processes
from prefork.system.channel import Channel
from prefork.system.spawning import spawn_watcher

logger = logging.getLogger("prefork.master")

STEADY_S = 10.0
"""A watcher that has lived for so long is forgiven its predecessors' deaths."""
REAP_S = 1.0
"""One that was killed has so long to be gone when the master leaves."""


class _Handle:
    """One watcher process."""

    __slots__ = ("channel", "order", "pid", "pidfd", "reader", "started_at")

    def __init__(self, order: say.Watch, pid: int, channel: Channel) -> None:
        self.order = order
        self.pid = pid
        self.pidfd = processes.open_pidfd(pid)
        self.channel = channel
        self.reader = read_from_watcher()
        self.started_at = clock.monotonic()


class Watching:
    """Has one watcher, or none. `ask_reload` gives the events of a reload, as SIGHUP does."""

    def __init__(
        self, selector: selectors.BaseSelector, ask_reload: Callable[[], Iterator[on.AnyEvent]]
    ) -> None:
        self.deadline: float | None = None
        """When `tend` has something to do although nothing happens."""
        self._selector = selector
        self._ask_reload = ask_reload
        self._watcher: _Handle | None = None
        self._leaving: _Handle | None = None
        self._code_read_ns = clock.wall_ns()
        self._streak = 0
        self._not_before = 0.0

    def note_reading(self) -> None:
        """Configuration and code are about to be read: whatever changes from now on has not been read."""
        self._code_read_ns = clock.wall_ns()

    def tend(self, config: Config, *, is_wanted: bool) -> None:
        """Have a watcher for this configuration, or none. For every turn of the loop."""
        order = _make_order(config) if is_wanted and config.reload else None
        if self._watcher is not None and self._watcher.order != order:
            self._dismiss(self._watcher)
        if order is not None and self._watcher is None and clock.monotonic() >= self._not_before:
            self._start(order)
        self.deadline = self._not_before if order is not None and self._watcher is None else None

    def end(self) -> None:
        """The service has ended: so has the watcher."""
        if self._watcher is not None:
            self._dismiss(self._watcher)
        if (leaving := self._leaving) is not None:
            if leaving.pidfd is not None:
                with selectors.DefaultSelector() as selector:
                    selector.register(leaving.pidfd, selectors.EVENT_READ)
                    selector.select(REAP_S)
            processes.reap(leaving.pid)
            self._forget_leaving()

    def _start(self, order: say.Watch) -> None:
        try:
            spawned = spawn_watcher()
        except OSError as error:
            self._back_off(f"cannot start an interpreter: {error.strerror}")
            return
        watcher = self._watcher = _Handle(order, spawned.pid, spawned.channel)
        self._selector.register(watcher.channel, selectors.EVENT_READ, lambda: self._read(watcher))
        watcher.channel.send(encode(msgspec.structs.replace(order, since_ns=self._code_read_ns)))

    def _read(self, watcher: _Handle) -> Iterator[on.AnyEvent]:
        if watcher.channel.is_closed:
            return
        data = watcher.channel.receive()
        if data is None:
            self._lose(watcher, "it ended")
            return
        try:
            messages = watcher.reader.feed(data)
        except ProtocolError as error:
            self._lose(watcher, f"it misbehaved on its channel: {error.message}")
            return
        has_changed = False
        for message in messages:
            match message:
                case say.Watching():
                    _log_watching(watcher, message)
                case say.Changed():
                    logger.info("change seen", extra={"files": _name_files(watcher.order, message)})
                    has_changed = True
        if has_changed:
            yield from self._ask_reload()

    def _lose(self, watcher: _Handle, why: str) -> None:
        if clock.monotonic() - watcher.started_at >= STEADY_S:
            self._streak = 0
        self._dismiss(watcher)
        self._back_off(why)

    def _back_off(self, why: str) -> None:
        self._streak += 1
        wait_s = delay_s(self._streak, killed=False, spread=0.5)
        self._not_before = clock.monotonic() + wait_s
        logger.warning("watcher lost", extra={"why": why, "again_in_s": round(wait_s, 1)})

    def _dismiss(self, watcher: _Handle) -> None:
        """It holds nothing worth a word of farewell, and may not even run (stopped). Whoever reaps, reaps it."""
        self._selector.unregister(watcher.channel)
        watcher.channel.close()
        if watcher.pidfd is not None:  # by its pid alone we might hit another: it may have been reaped
            processes.send_signal(watcher.pid, watcher.pidfd, signal.SIGKILL)
        self._forget_leaving()
        self._leaving, self._watcher = watcher, None

    def _forget_leaving(self) -> None:
        if self._leaving is not None and self._leaving.pidfd is not None:
            os.close(self._leaving.pidfd)
        self._leaving = None


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


def _log_watching(watcher: _Handle, message: say.Watching) -> None:
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
