"""Keeps one helper process alive: starts it, hears it, starts it again when it has died, ends it.

It never waits for it. A helper holds nothing of the service's: it may die, hang or be stopped without harm, and one
that is not wanted any more is killed without a word.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from prefork.core import events as on
from prefork.core.respawn import delay_s
from prefork.errors import ProtocolError
from prefork.ipc.codec import Reader
from prefork.system import clock, processes
from prefork.system.channel import Channel
from prefork.system.spawning import Spawned

logger = logging.getLogger("prefork.master")

STEADY_S = 10.0
"""A helper that has lived for so long is forgiven its predecessors' deaths."""
REAP_S = 1.0
"""One that was killed has so long to be gone when the master leaves."""
FIRST_WORD_S = 60.0
"""An interpreter may take so long to start, on a machine that does much else."""

M = TypeVar("M")
O = TypeVar("O")  # noqa: E741  # an order


class Helper(Generic[M, O]):
    """One process."""

    __slots__ = ("channel", "heard_by", "order", "pid", "pidfd", "reader", "started_at", "was_unsent")

    def __init__(self, order: O, pid: int, channel: Channel, reader: Reader[M]) -> None:
        self.order = order
        """What it was started for."""
        self.pid = pid
        self.pidfd = processes.open_pidfd(pid)
        self.channel = channel
        self.reader = reader
        self.started_at = clock.monotonic()
        self.heard_by = self.started_at + FIRST_WORD_S
        """When it shall have said something, if it is one that speaks by itself."""
        self.was_unsent = False
        """Did it leave something unread, so that the selector tells when it takes more?"""


class Owner(Protocol[M, O]):
    """What differs from one kind of helper to the other."""

    what: str
    """`watcher`: for log lines."""
    silence_s: float | None
    """A helper that says nothing for so long is stuck; None: it may be silent."""

    def spawn(self) -> Spawned:
        """A fresh interpreter. Raises OSError."""

    def make_reader(self) -> Reader[M]:
        """For what it says."""

    def give_order(self, helper: Helper[M, O]) -> None:
        """Tell it what it is there for. Raises OSError."""

    def hear(self, helper: Helper[M, O], messages: list[M]) -> Iterator[on.AnyEvent]:
        """It has said this."""


class Keeper(Generic[M, O]):
    """Has one helper, or none."""

    def __init__(self, selector: selectors.BaseSelector, owner: Owner[M, O]) -> None:
        self.deadline: float | None = None
        """When `tend` has something to do although nothing happens."""
        self.helper: Helper[M, O] | None = None
        self._selector = selector
        self._owner = owner
        self._leaving: Helper[M, O] | None = None
        self._streak = 0
        self._not_before = 0.0

    def tend(self, order: O | None) -> None:
        """Have a helper with this order, or none. For every turn of the loop."""
        if self.helper is not None and self.helper.order != order:
            self._dismiss(self.helper)
        self._check_silence()
        if self.helper is not None and (self.helper.was_unsent or self.helper.channel.has_unsent()):
            self._flush(self.helper)
        if order is not None and self.helper is None and clock.monotonic() >= self._not_before:
            self._start(order)
        if order is None:
            self.deadline = None
        elif self.helper is None:
            self.deadline = self._not_before
        else:
            self.deadline = None if self._owner.silence_s is None else self.helper.heard_by

    def end(self) -> None:
        """The service has ended: so has its helper."""
        if self.helper is not None:
            self._dismiss(self.helper)
        if (leaving := self._leaving) is not None:
            if leaving.pidfd is not None:
                with selectors.DefaultSelector() as selector:
                    selector.register(leaving.pidfd, selectors.EVENT_READ)
                    selector.select(REAP_S)
            processes.reap(leaving.pid)
            self._forget_leaving()

    def _check_silence(self) -> None:
        # What it has said was read before: a master that did not run blames nobody.
        helper, silence_s = self.helper, self._owner.silence_s
        if helper is not None and silence_s is not None and clock.monotonic() >= helper.heard_by:
            self._lose(helper, f"it has said nothing for {silence_s:g} s")

    def _flush(self, helper: Helper[M, O]) -> None:
        helper.channel.flush()
        helper.was_unsent = helper.channel.has_unsent()
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if helper.was_unsent else 0)
        self._selector.modify(helper.channel, mask, lambda: self._read(helper))

    def _start(self, order: O) -> None:
        try:
            spawned = self._owner.spawn()
        except OSError as error:
            self._back_off(f"cannot start an interpreter: {error.strerror}")
            return
        helper = self.helper = Helper(order, spawned.pid, spawned.channel, self._owner.make_reader())
        self._selector.register(helper.channel, selectors.EVENT_READ, lambda: self._read(helper))
        try:
            self._owner.give_order(helper)
        except OSError as error:  # no descriptor left for a duplicate
            self._lose(helper, f"cannot give it its order: {error.strerror}")

    def _read(self, helper: Helper[M, O]) -> Iterator[on.AnyEvent]:
        if helper.channel.is_closed:
            return
        data = helper.channel.receive()
        if data is None:
            self._lose(helper, "it ended")
            return
        try:
            messages = helper.reader.feed(data)
        except ProtocolError as error:
            self._lose(helper, f"it misbehaved on its channel: {error.message}")
            return
        helper.heard_by = clock.monotonic() + (self._owner.silence_s or 0.0)
        yield from self._owner.hear(helper, messages)

    def _lose(self, helper: Helper[M, O], why: str) -> None:
        if clock.monotonic() - helper.started_at >= STEADY_S:
            self._streak = 0
        self._dismiss(helper)
        self._back_off(why)

    def _back_off(self, why: str) -> None:
        self._streak += 1
        wait_s = delay_s(self._streak, killed=False, spread=0.5)
        self._not_before = clock.monotonic() + wait_s
        logger.warning("%s lost", self._owner.what, extra={"why": why, "again_in_s": round(wait_s, 1)})

    def _dismiss(self, helper: Helper[M, O]) -> None:
        """It may not even run (stopped). Whoever reaps, reaps it."""
        self._selector.unregister(helper.channel)
        helper.channel.close()
        if helper.pidfd is not None:  # by its pid alone we might hit another: it may have been reaped
            processes.send_signal(helper.pid, helper.pidfd, signal.SIGKILL)
        self._forget_leaving()
        self._leaving, self.helper = helper, None

    def _forget_leaving(self) -> None:
        if self._leaving is not None and self._leaving.pidfd is not None:
            os.close(self._leaving.pidfd)
        self._leaving = None
