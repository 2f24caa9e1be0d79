"""The operator's end: it finds what runs, believes no stranger, and waits for nobody for ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.control import client as module
from prefork.control import requests as ask
from prefork.control.client import ControlError, NotRunningError, Talk, find_services
from prefork.system.peers import Peer
from tests.control.desk import Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    office.server.open("shop", office.desk)
    yield office
    office.close()


def test_answers_come_one_by_one_and_then_the_next_may_be_asked(office: Office) -> None:
    steps = [ask.Progress(2, moved, 2, "rolling") for moved in range(3)]
    office.desk.lines = list(steps)
    with office.serving(), Talk(office.server.path) as talk:
        for _ in range(2):
            assert list(talk.ask(ask.AskReload(wait=True))) == [*steps, ask.Done("fine")]
        assert talk.peer == Peer(os.getpid(), os.geteuid())


def test_a_failure_is_an_error_with_the_masters_words_and_exit_code(office: Office) -> None:
    office.desk.lines = [ask.Failed("the reload failed", ("gen 1 serves on",), 3, "Traceback …")]
    with office.serving(), pytest.raises(ControlError) as raised:
        module.ask(office.server.path, ask.AskReload())
    error = raised.value
    assert (error.message, error.hints, error.exit_code, error.traceback) == (
        "the reload failed",
        ("gen 1 serves on",),
        3,
        "Traceback …",
    )


def test_a_master_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(f"{tmp_path}/a.sock")
        stopped.listen(1)
        with Talk(f"{tmp_path}/a.sock") as talk, pytest.raises(ControlError, match="no answer within"):
            list(talk.ask(ask.AskStatus(), silence_s=0.05))


def test_a_master_that_goes_away_in_the_middle_is_not_running(office: Office) -> None:
    office.desk.lines = [ask.Progress(2, 0, 1, "rolling")]
    with Talk(office.server.path) as talk:
        with office.serving():
            answers = talk.ask(ask.AskEvents(follow=True))
            next(answers)
        office.server.close()
        with pytest.raises(NotRunningError, match="went away"):
            next(answers)


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"is":"new"}\n'])
def test_an_answer_of_another_version_is_one_clear_line(office: Office, line: bytes) -> None:
    office.desk.lines = [line]
    with office.serving(), pytest.raises(ControlError, match="none that this version knows"):
        module.ask(office.server.path, ask.AskStatus())


def test_what_a_stranger_serves_is_not_believed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_peer", lambda _: Peer(1, 4242))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ControlError, match="served by uid 4242, not by you"):
        Talk(office.server.path)


def test_stale_sockets_are_passed_over_and_the_old_ones_removed(tmp_path: Path) -> None:
    for name in ("new.sock", "old.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{tmp_path}/{name}")
    os.utime(tmp_path / "old.sock", (1, 1))
    assert find_services({"PREFORK_CONTROL": str(tmp_path)}) == []
    assert [path.name for path in tmp_path.iterdir()] == ["new.sock"]
