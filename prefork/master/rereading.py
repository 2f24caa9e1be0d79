"""A reload's configuration, read anew without waiting for anybody.

Most configurations are files, read in no time. One that is code of the user's is run by an interpreter of its own,
which may take seconds or never end: its answer is awaited in the master's selector, up to its deadline.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator
from typing import Protocol

from prefork.config.model import Config
from prefork.core import events as on
from prefork.errors import PreforkError
from prefork.system import clock
from prefork.system.inquiry import Answer, Inquiry


class Reread(Protocol):
    """Where configurations come from. Both raise `PreforkError`."""

    def inquire(self) -> Inquiry | None:
        """What has to be run first, started; None if nothing has."""

    def __call__(self, answer: Answer | None = None) -> Config:
        """The new one, by that answer."""


Take = Callable[[Callable[[], Config]], Iterator[on.AnyEvent]]
"""Is given what gives the configuration, or raises `PreforkError`."""


class Rereading:
    """One master's. The newest request counts, should another be under way."""

    def __init__(self, selector: selectors.BaseSelector, reread: Reread, take: Take) -> None:
        self._selector = selector
        self._reread = reread
        self._take = take
        self._inquiry: Inquiry | None = None

    @property
    def deadline(self) -> float | None:
        """When `tend` has something to do although nothing happens."""
        return None if self._inquiry is None else self._inquiry.deadline

    def is_waiting(self) -> bool:
        """Does somebody still have to answer?"""
        return self._inquiry is not None

    def begin(self) -> Iterator[on.AnyEvent]:
        """A reload was asked for."""
        self.end()
        try:
            inquiry = self._reread.inquire()
        except PreforkError as error:
            yield from self._take(_raiser(error))
            return
        if inquiry is None:
            yield from self._take(self._reread)
            return
        self._inquiry = inquiry
        self._selector.register(inquiry, selectors.EVENT_READ, self._read)

    def tend(self) -> Iterator[on.AnyEvent]:
        """For every turn of the loop."""
        if self._inquiry is not None and self._inquiry.deadline <= clock.monotonic():
            yield from self._finish(self._inquiry)

    def end(self) -> None:
        """Wait for nobody any more."""
        if self._inquiry is not None:
            self._dismiss(self._inquiry)

    def _read(self) -> Iterator[on.AnyEvent]:
        if self._inquiry is not None and self._inquiry.receive():
            yield from self._finish(self._inquiry)

    def _finish(self, inquiry: Inquiry) -> Iterator[on.AnyEvent]:
        answer = self._dismiss(inquiry)
        yield from self._take(lambda: self._reread(answer))

    def _dismiss(self, inquiry: Inquiry) -> Answer:
        self._inquiry = None
        self._selector.unregister(inquiry)
        return inquiry.end()


def _raiser(error: PreforkError) -> Callable[[], Config]:
    def give() -> Config:
        raise error

    return give
