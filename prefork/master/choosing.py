"""The chooser's keeper: starts it for a strategy of the user's, asks it, and waits for nothing.

Without an answer in time the connections asked about go to whoever is next in turn, and so do others until it answers.
What goes wrong is told once; a chooser that has died is started again by the next reload.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Callable, Iterator, Sequence

from prefork.config.balance import SHARED, STRATEGIES
from prefork.config.model import Config
from prefork.core import events as on
from prefork.core.balance import Candidate
from prefork.errors import ConfigError, ProtocolError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_chooser
from prefork.system import clock, processes
from prefork.system.channel import Channel
from prefork.system.spawning import spawn_chooser

logger = logging.getLogger("prefork.master")

ANSWER_S = 0.05
"""How long connections wait for an answer."""

Answered = Callable[[Sequence[int | None]], None]


class _Handle:
    """One chooser process."""

    __slots__ = ("channel", "order", "pid", "pidfd", "reader")

    def __init__(self, order: say.LoadStrategy) -> None:
        spawned = spawn_chooser()
        self.order = order
        self.pid = spawned.pid
        self.pidfd = processes.open_pidfd(spawned.pid)
        self.channel: Channel = spawned.channel
        self.reader = read_from_chooser()
        self.channel.send(encode(order))

    def end(self) -> None:
        """It holds nothing worth a word of farewell. Whoever reaps, reaps it."""
        self.channel.close()
        if self.pidfd is not None:
            processes.send_signal(self.pid, self.pidfd, signal.SIGKILL)
            os.close(self.pidfd)
            self.pidfd = None


class Choosing:
    """Has one chooser, or none; for a moment two, until the one with the new code has loaded it."""

    def __init__(self, selector: selectors.BaseSelector, now: Callable[[], float] = clock.monotonic) -> None:
        self._selector = selector
        self._now = now
        self._order: say.LoadStrategy | None = None
        self._chooser: _Handle | None = None
        self._next: _Handle | None = None
        self._number = 0
        self._answered: Answered | None = None
        """Whom the answer is for, while it may still come in time."""
        self._is_busy = False
        self._deadline: float | None = None
        self._told: set[str] = set()

    def serve(self, config: Config, *, is_new: bool) -> None:
        """Have a chooser for this configuration, or none. `is_new`: its code may be new, and is loaded anew."""
        order = make_order(config)
        if order == self._order and not is_new:
            return
        if order is None or (self._order is not None and order.strategy != self._order.strategy):
            self.end()
        self._order = order
        self._told.clear()
        if order is not None:
            self._start(order)

    def end(self) -> None:
        """None from now on."""
        self._dismiss(self._next)
        self._dismiss(self._chooser)

    def _start(self, order: say.LoadStrategy) -> None:
        self._dismiss(self._next)
        try:
            chooser = self._next = _Handle(order)
        except OSError as error:
            self._tell_once("strategy not loaded", str(error.strerror))
            return
        self._selector.register(chooser.channel, selectors.EVENT_READ, lambda: self._read(chooser))

    def _dismiss(self, chooser: _Handle | None) -> None:
        if chooser is None:
            return
        self._selector.unregister(chooser.channel)
        chooser.end()
        if chooser is self._next:
            self._next = None
        else:
            self._chooser = None
            self._is_busy = False
            self.give_up()

    def can_ask(self) -> bool:
        """Is it there, and free?"""
        return self._chooser is not None and not self._is_busy

    def is_asked(self) -> bool:
        """Does somebody wait for an answer?"""
        return self._answered is not None

    def ask(self, candidates: Sequence[Candidate], addresses: Sequence[str], answered: Answered) -> None:
        """`answered` is called once: with serials, or with nothing but None."""
        assert self._chooser is not None  # noqa: S101  # can_ask
        self._number += 1
        self._is_busy = True
        self._deadline = self._now() + ANSWER_S
        nobody = [None] * len(addresses)
        self._answered = lambda serials: answered(serials if len(serials) == len(nobody) else nobody)
        shown = tuple((c.slot, c.serial, c.connections, c.in_flight, c.turn) for c in candidates)
        self._chooser.channel.send(encode(say.Choose(self._number, shown, tuple(addresses))))

    def next_deadline(self) -> float | None:
        """When whoever asked is told that there is no answer."""
        return self._deadline

    def tend(self) -> None:
        """For every turn of the loop."""
        if self._deadline is not None and self._deadline <= self._now():
            self._tell_once("strategy slow, taking turns", f"no answer within {ANSWER_S * 1000:g} ms")
            self.give_up()

    def give_up(self) -> None:
        """Whoever waits for an answer gets none."""
        answered, self._answered, self._deadline = self._answered, None, None
        if answered is not None:
            answered(())

    def _read(self, chooser: _Handle) -> Iterator[on.AnyEvent]:
        data = chooser.channel.receive()
        if data is None:
            self._lose(chooser, "it ended")
            return
        try:
            messages = chooser.reader.feed(data)
        except ProtocolError as error:
            self._lose(chooser, f"it misbehaved on its channel: {error.message}")
            return
        for message in messages:
            match message:
                case say.StrategyLoaded():
                    self._dismiss(self._chooser)
                    self._chooser, self._next = chooser, None
                    logger.info(
                        "strategy loaded", extra={"strategy": chooser.order.strategy, "pid": chooser.pid}
                    )
                case say.StrategyRefused():
                    self._lose(chooser, message.message, message.traceback)
                    return
                case say.Chosen():
                    self._hear_answer(message)
        yield from ()

    def _hear_answer(self, message: say.Chosen) -> None:
        self._is_busy = False
        if message.why:
            self._tell_once("strategy raised, taking turns", message.why)
        answered, self._answered, self._deadline = self._answered, None, None
        if answered is not None:  # else it comes too late
            answered(message.serials)

    def _lose(self, chooser: _Handle, why: str, detail: str = "") -> None:
        self._dismiss(chooser)
        event = (
            "strategy lost, taking turns"
            if self._chooser is None
            else "strategy not loaded, the old one stays"
        )
        self._tell_once(event, why, detail)

    def _tell_once(self, event: str, why: str, detail: str = "") -> None:
        if event not in self._told:
            self._told.add(event)
            strategy = self._order.strategy if self._order else ""
            logger.error(
                event, extra={"strategy": strategy, "why": why} | ({"detail": detail} if detail else {})
            )


def make_order(config: Config) -> say.LoadStrategy | None:
    """What the chooser of this configuration is told; None if none is needed."""
    if config.balance == SHARED or config.balance in STRATEGIES:
        return None
    return say.LoadStrategy(
        config.balance, config.name, config.app_dir, config.chdir, config.user, config.group
    )


def check_strategy(config: Config) -> None:
    """Before the service starts, and once: load it, call it on trial. Raises `ConfigError`."""
    order = make_order(config)
    if order is None:
        return
    chooser = _Handle(order)
    end = clock.monotonic() + config.boot_timeout_s
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(chooser.channel, selectors.EVENT_READ)
            while True:
                ready = selector.select(max(0.0, end - clock.monotonic()))
                data = chooser.channel.receive() if ready else None
                if data is None:
                    how = "it ended" if ready else f"not loaded within {config.boot_timeout_s:g} s"
                    raise ConfigError(f"--balance {config.balance}: {how}")
                for message in chooser.reader.feed(data):
                    if isinstance(message, say.StrategyRefused):
                        raise ConfigError(f"--balance {config.balance}: {message.message}", *message.hints)
                    return
    finally:
        processes.send_signal(chooser.pid, None, signal.SIGKILL)
        chooser.end()
        processes.wait_for_end(chooser.pid)
