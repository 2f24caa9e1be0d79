"""One service, asked again and again by two threads: how it is, and what happens to it. They post what they hear.

When the service goes away they say so and look for it again, for as long as somebody watches: a master that was
replaced answers to the same name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from prefork.control.requests import AnyAnswer, AnyRequest, AskEvents, AskStatus, Event, Missed, Told
from prefork.control.status import ServiceStatus
from prefork.errors import PreforkError
from prefork.system import clock
from prefork.system.usage import read_family
from prefork.top.gathering import Happened, Looked, Lost, Mailbox
from prefork.top.rates import Look
from prefork.top.seen import Event as Shown

RETRY_S = 1.0
RELOADING_S = 0.25
"""Whoever watches a reload wants to see it move."""
ANSWER_S = 5.0
"""A master that says nothing for so long does not answer."""
BAD_LEVELS = frozenset({"warning", "error", "critical"})


class Line(Protocol):
    """A connection to a master: `control/client.py`'s Talk."""

    def ask(self, request: AnyRequest, *, silence_s: float | None) -> Iterator[AnyAnswer]:
        """Its answers, up to the last one. Raises PreforkError if it refuses, goes away, says nothing for so long."""


NEWCOMERS_S = 2.0
"""How often to look whether a service has come."""

Connect = Callable[[str], AbstractContextManager[Line]]
"""By the service's name. Raises PreforkError."""


class Feed:
    """Of one service. `start` it once, `stop` it once."""

    def __init__(self, name: str, connect: Connect, mailbox: Mailbox, interval_s: float) -> None:
        self._name = name
        self._connect = connect
        self._mailbox = mailbox
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._poked = threading.Event()

    def start(self) -> None:
        """Daemon threads: nobody waits for an answer at the end."""
        for work in (self._look_again_and_again, self._listen):
            threading.Thread(target=work, name=f"{work.__name__} {self._name}", daemon=True).start()

    def poke(self) -> None:
        """Look now: something was asked of the service."""
        self._poked.set()

    def stop(self) -> None:
        """They end when they hear of it."""
        self._ended.set()
        self._poked.set()

    def _look_again_and_again(self) -> None:
        while not self._ended.is_set():
            try:
                with self._connect(self._name) as line:
                    self._look_while_it_answers(line)
            except PreforkError as error:
                self._mailbox.post(Lost(self._name, f"{error.message}; waiting for it"))
                self._ended.wait(RETRY_S)

    def _look_while_it_answers(self, line: Line) -> None:
        due = clock.monotonic()
        while not self._ended.is_set():
            look = look_at(line)
            self._mailbox.post(Looked(self._name, look))
            is_reloading = look.status.rollout is not None
            pause_s = min(self._interval_s, RELOADING_S) if is_reloading else self._interval_s
            due = max(due + pause_s, clock.monotonic())
            if self._poked.wait(max(0.0, due - clock.monotonic())):
                self._poked.clear()
                due = clock.monotonic()

    def _listen(self) -> None:
        newest = 0.0
        while not self._ended.is_set():
            try:
                with self._connect(self._name) as line:
                    for answer in line.ask(AskEvents(follow=True), silence_s=None):
                        if (
                            isinstance(answer, Event) and answer.time > newest
                        ):  # it tells the last ones once more
                            newest = answer.time
                            self._mailbox.post(Happened(self._name, tell(answer)))
                        elif isinstance(answer, Missed):
                            text = f"{answer.count} events came too fast"
                            self._mailbox.post(Happened(self._name, Shown(newest, text)))
            except PreforkError:
                pass  # the other thread says that it is gone
            self._ended.wait(RETRY_S)


class Feeds:
    """Of all services that are meant. `start` them once, `stop` them once."""

    def __init__(self, connect: Connect, mailbox: Mailbox, interval_s: float) -> None:
        self._connect = connect
        self._mailbox = mailbox
        self._interval_s = interval_s
        self._feeds: dict[str, Feed] = {}
        self._ended = threading.Event()

    def start(self, names: Iterable[str], find_new: Callable[[], Iterable[str]]) -> None:
        """Of these, and of whoever `find_new` names later: it is asked again and again, on a thread."""
        for name in names:
            self._begin(name)
        threading.Thread(target=self._look_out, args=[find_new], name="newcomers", daemon=True).start()

    def poke(self, name: str) -> None:
        """Look at this one now."""
        if (feed := self._feeds.get(name)) is not None:
            feed.poke()

    def stop(self) -> None:
        """They end when they hear of it."""
        self._ended.set()
        for feed in list(self._feeds.values()):
            feed.stop()

    def _begin(self, name: str) -> None:
        feed = self._feeds[name] = Feed(name, self._connect, self._mailbox, self._interval_s)
        feed.start()

    def _look_out(self, find_new: Callable[[], Iterable[str]]) -> None:
        while not self._ended.wait(NEWCOMERS_S):
            for name in find_new():
                self._begin(name)


def look_at(line: Line) -> Look:
    """One answer, and the readings of that moment. Raises PreforkError."""
    status = ask_status(line)
    return Look(clock.monotonic(), status, read_family(status.pid))


def ask_status(line: Line) -> ServiceStatus:
    """Raises PreforkError."""
    told = None
    for answer in line.ask(AskStatus(), silence_s=ANSWER_S):
        if isinstance(answer, Told):
            told = answer.service
    if told is None:
        raise PreforkError("the master did not say how it is")
    return told


def tell(event: Event) -> Shown:
    """As in the log: what happened, then its facts."""
    facts = [f"{key}={_show_fact(value)}" for key, value in event.fields.items() if value is not None]
    level = [event.level.upper()] if event.level in BAD_LEVELS else []
    return Shown(event.time, " ".join([*level, event.event, *facts]), is_bad=bool(level))


def _show_fact(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text or not text else text
