"""The threads that ask, and the orders that are given, with a master that is only a table of answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from prefork.control.requests import (
    AnyAnswer,
    AnyRequest,
    AskEvents,
    AskReload,
    AskRestart,
    AskScale,
    AskStatus,
    Done,
    Event,
    Told,
)
from prefork.control.status import ServiceStatus
from prefork.errors import PreforkError
from prefork.top.feed import Feed, Feeds
from prefork.top.gathering import Happened, Looked, Lost, Mailbox, Message
from prefork.top.operating import give
from prefork.top.watching import Reload, Restart, Scale
from tests.integration.running import wait_until
from tests.top.looks import make_status, make_worker


class Master:
    """Answers to its status, tells two events, and goes away when it is told to."""

    def __init__(self, status: ServiceStatus) -> None:
        self.status = status
        self.is_there = threading.Event()
        self.is_there.set()
        self.asked: list[AnyRequest] = []
        self.refusal: PreforkError | None = None

    def connect(self, name: str) -> Master:
        if not self.is_there.is_set():
            raise PreforkError(f"{name} is not running")
        return self

    def __enter__(self) -> Master:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, request: AnyRequest, *, silence_s: float | None) -> Iterator[AnyAnswer]:
        self.asked.append(request)
        if not self.is_there.is_set():
            raise PreforkError("the master has ended")
        match request:
            case AskStatus():
                yield Told(self.status)
            case AskEvents():
                yield Event(time=1.0, level="info", event="worker ready", fields={"slot": 0})
                yield Event(time=2.0, level="error", event="worker died", fields={"slot": 1, "how": "exit 1"})
            case _:
                pass
        if self.refusal is not None:
            raise self.refusal
        yield Done()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    yield mailbox
    mailbox.close()


@pytest.fixture
def master() -> Master:
    return Master(make_status(make_worker(0), make_worker(1), pid=2**22 + 1))


def wait_for(mailbox: Mailbox, taken: list[Message], kind: type[Message], count: int = 1) -> None:
    def look() -> bool:
        taken.extend(mailbox.take())
        return len([message for message in taken if isinstance(message, kind)]) >= count

    wait_until(look, f"{count} {kind.__name__}")


def test_a_service_that_goes_away_is_waited_for(
    mailbox: Mailbox, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.top.feed.RETRY_S", 0.01)
    feed = Feed("shop", master.connect, mailbox, 0.01)
    taken: list[Message] = []
    feed.start()
    try:
        wait_for(mailbox, taken, Looked, 2)
        master.is_there.clear()
        wait_for(mailbox, taken, Lost)
        taken.clear()
        master.is_there.set()
        wait_for(mailbox, taken, Looked)
    finally:
        feed.stop()


def test_who_comes_later_is_looked_at_too(
    mailbox: Mailbox, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.top.feed.NEWCOMERS_S", 0.01)
    coming = [["blog"], []]
    feeds = Feeds(master.connect, mailbox, 1000)
    taken: list[Message] = []
    feeds.start(["shop"], lambda: coming.pop() if coming else [])
    try:
        wait_for(mailbox, taken, Looked, 2)
        feeds.poke("blog")
        wait_for(mailbox, taken, Looked, 3)
    finally:
        feeds.stop()

    assert [message.service for message in taken if isinstance(message, Looked)] == ["shop", "blog", "blog"]


def test_events_are_told_once_though_each_connection_hears_of_the_last_ones(
    mailbox: Mailbox, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.top.feed.RETRY_S", 0.001)
    feed = Feed("shop", master.connect, mailbox, 10)
    taken: list[Message] = []
    feed.start()
    try:
        wait_until(lambda: master.asked.count(AskEvents(follow=True)) >= 3, "three connections")
        taken.extend(mailbox.take())
    finally:
        feed.stop()

    events = [message.event for message in taken if isinstance(message, Happened)]
    assert [(event.text, event.is_bad) for event in events] == [
        ("worker ready slot=0", False),
        ('ERROR worker died slot=1 how="exit 1"', True),
    ]


def test_a_poke_looks_at_once(mailbox: Mailbox, master: Master) -> None:
    feed = Feed("shop", master.connect, mailbox, 1000)
    taken: list[Message] = []
    feed.start()
    try:
        wait_for(mailbox, taken, Looked)
        feed.poke()
        wait_for(mailbox, taken, Looked, 2)
    finally:
        feed.stop()


def test_orders_become_requests(master: Master) -> None:
    assert give(Reload("shop"), master) == "reloading"
    assert give(Scale("shop", 1), master) == "one worker more"
    assert give(Restart("shop", 1, 1001), master) == "the worker of slot 1 is being replaced"

    assert master.asked == [AskReload(), AskScale(by=1), AskStatus(), AskRestart(slot=1)]


def test_a_worker_that_is_gone_already_is_not_replaced_by_mistake(master: Master) -> None:
    assert "gone already" in give(Restart("shop", 1, 999), master)

    assert master.asked == [AskStatus()]


def test_a_refusal_is_the_masters_own_words(master: Master) -> None:
    master.refusal = PreforkError("one worker is the least there can be")

    with pytest.raises(PreforkError, match="one worker is the least"):
        give(Scale("shop", -1), master)
