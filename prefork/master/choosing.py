"""The chooser's keeper: starts it for a strategy of the user's, asks it, and waits for nothing.

A reload that needs one has it load its strategy first: what cannot be loaded refuses the reload, as a bad configuration
does. What is loaded waits until its generation is in service, and is dismissed if that fails.

Without an answer in time the connections asked about go to whoever is next in turn, and so do others until it answers.
What goes wrong is told once; a chooser that has died is started again by the next reload.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

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
Proceed = Callable[[], Iterable[on.AnyEvent]]


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


class _Loading(NamedTuple):
    """A chooser that has not said yet whether its strategy can be used."""

    chooser: _Handle
    until: float
    proceed: Proceed | None
    """What a reload does next; None at the start of the service."""


class Choosing:
    """Has one chooser, or none; during a reload also the next one's."""

    def __init__(self, selector: selectors.BaseSelector, now: Callable[[], float] = clock.monotonic) -> None:
        self._selector = selector
        self._now = now
        self._chooser: _Handle | None = None
        self._loading: _Loading | None = None
        self._loaded: _Handle | None = None
        """For the generation that is started next."""
        self._rolling: _Handle | None = None
        """For the one on its way through the slots."""
        self._number = 0
        self._answered: Answered | None = None
        """Whom the answer is for, while it may still come in time."""
        self._is_busy = False
        self._deadline: float | None = None
        self._told: set[str] = set()

    # its life

    def load(self, config: Config, proceed: Proceed) -> Iterable[on.AnyEvent]:
        """For a reload: what `proceed` gives, at once or once the strategy that it needs is loaded. If it cannot be,
        that is told, and nothing has changed; nor has it if `proceed` asks for no reload. The newest counts, should
        another be loading.
        """
        if self._loading is not None:
            self._dismiss(self._loading.chooser)
        order = make_order(config)
        if order is None:
            if is_going_on(events := list(proceed())):
                self._dismiss(self._loaded)
            return events
        try:
            self._start(order, self._now() + config.boot_timeout_s, proceed)
        except OSError as error:
            return refuse(order.strategy, str(error.strerror))
        return ()

    def begin(self, config: Config) -> None:
        """The first generation starts; its strategy was tried before."""
        if (order := make_order(config)) is None:
            return
        try:
            self._start(order, self._now() + config.boot_timeout_s, None)
        except OSError as error:
            self._tell_once("strategy not loaded, taking turns", order.strategy, str(error.strerror))

    def has_reload_waiting(self) -> bool:
        """Will a reload go on, or be refused, when a strategy is loaded?"""
        return self._loading is not None and self._loading.proceed is not None

    def roll(self) -> None:
        """A generation starts: what was loaded last is for it."""
        self._dismiss(self._rolling)
        self._rolling, self._loaded = self._loaded, None

    def adopt(self, *, is_new: bool) -> None:
        """Its rollout is over: it `is_new` in service, or has failed."""
        if is_new:
            self._dismiss(self._chooser)
            self._chooser, self._rolling = self._rolling, None
            self._told.clear()
        else:
            self._dismiss(self._rolling)

    def end(self) -> None:
        """None from now on."""
        for chooser in self._all():
            self._dismiss(chooser)

    def _all(self) -> list[_Handle | None]:
        return [self._loading and self._loading.chooser, self._loaded, self._rolling, self._chooser]

    def _start(self, order: say.LoadStrategy, until: float, proceed: Proceed | None) -> None:
        chooser = _Handle(order)
        self._loading = _Loading(chooser, until, proceed)
        self._selector.register(chooser.channel, selectors.EVENT_READ, lambda: self._read(chooser))

    def _dismiss(self, chooser: _Handle | None) -> None:
        if chooser is None:
            return
        self._end(chooser)
        if self._loading is not None and chooser is self._loading.chooser:
            self._loading = None
        elif chooser is self._loaded:
            self._loaded = None
        elif chooser is self._rolling:
            self._rolling = None
        else:
            self._chooser = None
            self._is_busy = False
            self.give_up()

    def _end(self, chooser: _Handle) -> None:
        self._selector.unregister(chooser.channel)
        chooser.end()

    # questions

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
        """When whoever asked is told that there is no answer, or a strategy has been loading for too long."""
        deadlines = [self._deadline, self._loading and self._loading.until]
        return min((each for each in deadlines if each is not None), default=None)

    def tend(self) -> Iterable[on.AnyEvent]:
        """For every turn of the loop."""
        now = self._now()
        if self._deadline is not None and self._deadline <= now:
            self._complain("strategy slow, taking turns", f"no answer within {ANSWER_S * 1000:g} ms")
            self.give_up()
        if self._loading is not None and self._loading.until <= now:
            return self._lose(self._loading.chooser, "it takes too long to load")
        return ()

    def give_up(self) -> None:
        """Whoever waits for an answer gets none."""
        answered, self._answered, self._deadline = self._answered, None, None
        if answered is not None:
            answered(())

    def _read(self, chooser: _Handle) -> Iterator[on.AnyEvent]:
        if chooser not in self._all():  # dismissed in this turn
            return
        data = chooser.channel.receive()
        if data is None:
            yield from self._lose(chooser, "it ended")
            return
        try:
            messages = chooser.reader.feed(data)
        except ProtocolError as error:
            yield from self._lose(chooser, f"it misbehaved on its channel: {error.message}")
            return
        for message in messages:
            match message:
                case say.StrategyLoaded():
                    yield from self._hear_loaded(chooser)
                case say.StrategyRefused():
                    yield from self._lose(
                        chooser, message.message, message.traceback or "\n".join(message.hints)
                    )
                    return
                case say.Chosen() if chooser is self._chooser:
                    self._hear_answer(message)

    def _hear_loaded(self, chooser: _Handle) -> Iterable[on.AnyEvent]:
        loading = self._loading
        if loading is None or loading.chooser is not chooser:
            return ()
        self._loading = None
        logger.info("strategy loaded", extra={"strategy": chooser.order.strategy, "pid": chooser.pid})
        if loading.proceed is None:
            self._chooser = chooser
            return ()
        if is_going_on(events := list(loading.proceed())):
            self._dismiss(self._loaded)
            self._loaded = chooser
        else:
            self._end(chooser)
        return events

    def _hear_answer(self, message: say.Chosen) -> None:
        self._is_busy = False
        if message.why:
            self._complain("strategy raised, taking turns", message.why)
        answered, self._answered, self._deadline = self._answered, None, None
        if answered is not None:  # else it comes too late
            answered(message.serials)

    def _lose(self, chooser: _Handle, why: str, detail: str = "") -> Iterable[on.AnyEvent]:
        loading = self._loading
        is_for_a_reload = loading is not None and loading.chooser is chooser and loading.proceed is not None
        self._dismiss(chooser)
        if is_for_a_reload:
            return refuse(chooser.order.strategy, why, detail)
        self._tell_once("strategy lost, taking turns", chooser.order.strategy, why, detail)
        return ()

    def _complain(self, event: str, why: str) -> None:
        self._tell_once(event, self._chooser.order.strategy if self._chooser else "", why)

    def _tell_once(self, event: str, strategy: str, why: str, detail: str = "") -> None:
        if event not in self._told:
            self._told.add(event)
            extra = {"strategy": strategy, "why": why}
            logger.error(event, extra=extra | ({"detail": detail} if detail else {}))


def refuse(strategy: str, why: str, detail: str = "") -> tuple[on.ReloadRefused]:
    """Say why a reload changes nothing."""
    extra = {"detail": detail} if detail else {}
    logger.error("reload refused: --balance %s: %s", strategy, why, extra=extra)
    return (on.ReloadRefused(f"--balance {strategy}: {why}"),)


def is_going_on(events: Iterable[on.AnyEvent]) -> bool:
    """Is there a reload after all?"""
    return any(isinstance(event, on.ReloadAsked) for event in events)


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
