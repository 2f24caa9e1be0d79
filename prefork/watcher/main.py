"""What the watcher's fresh interpreter runs: hear what to watch, then look, wait until it is quiet, and tell.

It decides nothing, and nobody waits for it. It ends with its master, however that ends.
"""

from __future__ import annotations

import gc
import selectors
from collections.abc import Callable

from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_watcher
from prefork.ipc.foreign import fit
from prefork.system import clock, titles
from prefork.system.attending import attend_master, change_identity
from prefork.system.channel import Channel
from prefork.watcher.alarms import Alarm, AlarmBrokenError, Pause, Polling, choose_alarm
from prefork.watcher.bytecode import remove_stale_bytecode
from prefork.watcher.picking import Picker
from prefork.watcher.scanning import Scanner

QUIET_S = 0.1
"""Changes are told when there was none for so long …"""
BURST_S = 1.0
"""… or when they have gone on for so long: a checkout touches many files."""
TOLD_MAX = 3
PATH_MAX = 500


def main(argv: list[str]) -> int:
    """The watcher's whole life. `argv`: where the master's prefork is, and the channel's descriptor."""
    line = Line(attend_master(argv))
    watch = line.hear_watch()
    if watch is None:
        return 0
    titles.set_title(f"prefork: watcher {watch.name}")
    change_identity(watch.user, watch.group)
    scanner = Scanner(watch.dirs, watch.files, Picker(watch.include, watch.exclude))
    gc.collect()
    gc.freeze()
    gc.enable()
    Watcher(line, scanner, watch).run()
    return 0


class Line:
    """The channel to the master, and the waiting on it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)

    def hear_watch(self) -> say.Watch | None:
        """What to watch; None if the master has gone."""
        reader = read_from_master_as_watcher()
        while True:
            self._selector.select()
            data = self._channel.receive()
            if data is None:
                return None
            for message in reader.feed(data):
                return message

    def tell(self, message: say.Message) -> None:
        """Say it now, or when the master reads again."""
        self._channel.send(encode(message))

    def pause(self, seconds: float) -> None:
        """Wait so long, or less: the master has something to say only when it ends."""
        self._selector.select(seconds)

    def is_cut(self) -> bool:
        """Has the master gone?"""
        self._channel.flush()
        return self._channel.receive() is None


class Watcher:
    """Looks whenever an alarm says so."""

    def __init__(self, line: Line, scanner: Scanner, watch: say.Watch) -> None:
        self._line = line
        self._scanner = scanner
        self._alarm: Alarm
        self._alarm, self._why = choose_alarm(scanner, line.pause)
        self._since_ns = watch.since_ns

    def run(self) -> None:
        """Until the master has gone."""
        changed = self._look()
        self._say_how()
        while not self._line.is_cut():
            if changed:
                self._tell(gather(changed, self._look, self._line.pause, clock.monotonic))
            try:
                changed = self._look() if self._alarm.wait() else []
            except AlarmBrokenError as error:
                self._alarm, self._why = (
                    Polling(self._scanner, self._line.pause),
                    fit(error.message, PATH_MAX),
                )
                changed = self._look()
                self._say_how()

    def _look(self) -> list[str]:
        begun = clock.cpu_s()
        changed = self._scanner.scan(self._since_ns)
        self._alarm.note_look(clock.cpu_s() - begun)
        return changed

    def _say_how(self) -> None:
        self._line.tell(say.Watching(self._alarm.by, self._why, self._scanner.count_files()))

    def _tell(self, paths: list[str]) -> None:
        remove_stale_bytecode(paths)
        shown = tuple(fit(path, PATH_MAX) for path in paths[:TOLD_MAX])
        self._line.tell(say.Changed(shown, len(paths)))


def gather(
    changed: list[str], look: Callable[[], list[str]], pause: Pause, now: Callable[[], float]
) -> list[str]:
    """`changed` and what else changes until it is quiet, each once, in order."""
    gathered = dict.fromkeys(changed)
    end = now() + BURST_S
    while now() < end:
        pause(QUIET_S)
        more = look()
        if not more:
            break
        gathered |= dict.fromkeys(more)
    return list(gathered)
