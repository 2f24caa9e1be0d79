"""The beat: a row written by the loop that serves, and by nothing else."""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from collections.abc import Iterator

import pytest

from prefork.core.policy import BEAT_EVERY_S
from prefork.system.scoreboard import ROW_NUMBERS, TICK, Scoreboard, make_scoreboard
from prefork.worker import beating
from prefork.worker.beating import Heart
from tests.serve.accepting import LOOPS, Run, run_on, wait_until


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(beating, "BEAT_EVERY_S", 0.01)
    return lambda test: run_on(request.param, test)


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = make_scoreboard()
    yield board
    os.close(board.fd)


def test_a_beat_is_well_within_any_timeout() -> None:
    assert BEAT_EVERY_S == 0.5


def test_the_first_beat_is_at_once_and_writes_the_tick_alone(run: Run, board: Scoreboard) -> None:
    async def test() -> None:
        board.row(3)[1:4] = memoryview(array("Q", [5, 2, 77]))
        heart = Heart(asyncio.get_running_loop(), board.row(3), lambda: None)
        before = time.monotonic_ns()
        heart.start()
        after = time.monotonic_ns()
        heart.stop()
        tick, *rest = board.row(3)
        assert before <= tick <= after
        assert rest == [5, 2, 77, *[0] * (ROW_NUMBERS - 4)], "no lag before there is a second beat"
        assert list(board.row(2)) == list(board.row(4)) == [0] * ROW_NUMBERS

    run(test())


def test_every_beat_is_later_than_the_one_before_and_calls_who_asked(run: Run, board: Scoreboard) -> None:
    async def test() -> None:
        calls: list[int] = []
        row = board.row(0)
        heart = Heart(asyncio.get_running_loop(), row, lambda: calls.append(row[TICK]))
        heart.start()
        await wait_until(lambda: len(calls) >= 4)
        heart.stop()
        assert calls == sorted(set(calls))

    run(test())


def test_a_loop_that_is_held_does_not_beat(run: Run, board: Scoreboard) -> None:
    async def test() -> None:
        row = board.row(0)
        heart = Heart(asyncio.get_running_loop(), row, lambda: None)
        heart.start()
        tick, end = row[TICK], time.monotonic() + 0.05
        while time.monotonic() < end:
            assert row[TICK] == tick
        await wait_until(lambda: row[TICK] > tick)
        heart.stop()

    run(test())


def test_a_stopped_heart_beats_no_more(run: Run, board: Scoreboard) -> None:
    async def test() -> None:
        stopped, beating_on = board.row(0), board.row(1)
        heart = Heart(asyncio.get_running_loop(), stopped, lambda: None)
        other = Heart(asyncio.get_running_loop(), beating_on, lambda: None)
        heart.stop()  # before its first beat
        heart.start()
        other.start()
        heart.stop()
        tick, beats = stopped[TICK], set()

        def has_beaten_often() -> bool:
            beats.add(beating_on[TICK])
            return len(beats) > 4

        await wait_until(has_beaten_often)
        other.stop()
        assert stopped[TICK] == tick

    run(test())
