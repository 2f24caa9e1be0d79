"""A reload's configuration that has to be asked for is awaited, and nobody waits for it."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prefork.config.model import Config
from prefork.core import events as on
from prefork.errors import ConfigError, PreforkError
from prefork.master.rereading import Rereading
from prefork.system.inquiry import Answer, Inquiry
from tests.serve.serving import wait_until


class Source:
    """Asks each of these scripts in turn; none: there is nothing to ask."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script: str | None = None
        self.limit_s = 20.0
        self.error: PreforkError | None = None
        self.answers: list[Answer | None] = []

    def inquire(self) -> Inquiry | None:
        if self.error is not None:
            raise self.error
        if self.script is None:
            return None
        path = self.folder / "script.py"
        path.write_text(f"import os, sys, threading\nanswer = int(sys.argv[1])\n{self.script}\n")
        return Inquiry(str(path), [], {}, self.limit_s)

    def __call__(self, answer: Answer | None = None) -> Config:
        self.answers.append(answer)
        return Config(app="shop:app")


class Desk:
    """A master that has nothing else to do."""

    def __init__(self, source: Source) -> None:
        self.selector = selectors.DefaultSelector()
        self.rereading = Rereading(self.selector, source, self.take)
        self.events: list[on.AnyEvent] = []

    def take(self, read: Callable[[], Config]) -> Iterator[on.AnyEvent]:
        try:
            read()
        except PreforkError as error:
            yield on.ReloadRefused(error.message)
        else:
            yield on.ScaleAsked(1)

    def begin(self) -> None:
        self.events += self.rereading.begin()

    def turn(self) -> bool:
        for key, _ in self.selector.select(0.01):
            self.events += key.data()
        self.events += self.rereading.tend()
        return bool(self.events)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


@pytest.fixture
def desk(source: Source) -> Iterator[Desk]:
    desk = Desk(source)
    yield desk
    desk.rereading.end()
    assert not desk.selector.get_map()
    desk.selector.close()


def test_files_are_read_at_once(desk: Desk, source: Source) -> None:
    desk.begin()
    assert (desk.events, source.answers) == ([on.ScaleAsked(1)], [None])
    assert (desk.rereading.is_waiting(), desk.rereading.deadline) == (False, None)


def test_an_answer_is_taken_when_it_comes(desk: Desk, source: Source) -> None:
    source.script = "os.write(answer, b'yes')"
    desk.begin()
    assert (desk.events, desk.rereading.is_waiting()) == ([], True)
    wait_until(desk.turn, "the answer")
    assert (desk.events, source.answers) == ([on.ScaleAsked(1)], [Answer(b"yes", is_late=False)])
    assert not desk.rereading.is_waiting()


def test_one_that_never_answers_is_given_up_at_its_deadline(desk: Desk, source: Source) -> None:
    source.script, source.limit_s = "threading.Event().wait()", 0.3
    desk.begin()
    assert desk.rereading.deadline is not None
    wait_until(desk.turn, "the deadline")
    assert source.answers == [Answer(b"", is_late=True)]


def test_the_newest_request_counts(desk: Desk, source: Source) -> None:
    source.script = "threading.Event().wait()"
    desk.begin()
    source.script = "os.write(answer, b'second')"
    desk.begin()
    wait_until(desk.turn, "the answer")
    assert source.answers == [Answer(b"second", is_late=False)]


def test_what_cannot_be_asked_refuses_the_reload(desk: Desk, source: Source) -> None:
    source.error = ConfigError("no process left")
    desk.begin()
    assert desk.events == [on.ReloadRefused("no process left")]
    assert not desk.rereading.is_waiting()
