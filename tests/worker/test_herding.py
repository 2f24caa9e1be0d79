"""What a worker sees of the others on the scoreboard, and what it shows them."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from prefork.core.gate import PATIENCE_COMING_S
from prefork.system import clock
from prefork.system.scoreboard import (
    ACCEPTED,
    CONNECTIONS,
    IN_FLIGHT,
    IN_ROTATION,
    OPENING,
    TICK,
    Scoreboard,
    make_scoreboard,
)
from prefork.worker import herding
from prefork.worker.herding import BUSY_NS, FAIR_NS, HERD_ROWS, Herding

LISTENER = socket.socket()
"""Nobody waits there."""


@pytest.fixture(scope="module", autouse=True)
def _closed_at_the_end() -> Iterator[None]:
    yield
    LISTENER.close()


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = make_scoreboard()
    board.rows_used = 200
    yield board
    os.close(board.fd)


def join(board: Scoreboard, row: int, connections: int) -> Herding:
    herding = Herding(board, row)
    board.row(row)[TICK], board.row(row)[CONNECTIONS] = clock.monotonic_ns(), connections
    herding.show_rotation(is_in=True)
    return herding


def test_the_heavier_leaves_a_connection_to_the_lighter(board: Scoreboard) -> None:
    heavier, lighter = join(board, 0, 3), join(board, 2, 2)
    assert (heavier.may_take(LISTENER), lighter.may_take(LISTENER)) == (False, True)


def test_one_that_left_rotation_is_not_waited_for(board: Scoreboard) -> None:
    staying, leaving = join(board, 0, 3), join(board, 2, 2)
    leaving.show_rotation(is_in=False)
    assert staying.may_take(LISTENER)


def test_rows_of_nobody_are_not_waited_for(board: Scoreboard) -> None:
    assert join(board, 5, 1000).may_take(LISTENER)


def test_what_is_being_opened_counts_from_its_acceptance(board: Scoreboard) -> None:
    one, other = join(board, 0, 0), join(board, 1, 0)
    one.note_accepted()
    assert (board.row(0)[ACCEPTED], board.row(0)[OPENING]) == (1, 1)
    assert (one.may_take(LISTENER), other.may_take(LISTENER)) == (False, True)
    one.note_opened()
    assert (board.row(0)[ACCEPTED], board.row(0)[OPENING]) == (1, 0)
    assert one.may_take(LISTENER)


def test_of_hundreds_of_workers_each_looks_at_its_own_herd(board: Scoreboard) -> None:
    last, first_of_next = join(board, HERD_ROWS - 1, 9), join(board, HERD_ROWS, 1)
    assert last.may_take(LISTENER)
    join(board, 0, 8)
    board.row(HERD_ROWS - 1)[CONNECTIONS] += 1
    assert not last.may_take(LISTENER)
    assert first_of_next.may_take(LISTENER)


def test_a_worker_that_the_header_does_not_count_any_more_still_finds_itself(board: Scoreboard) -> None:
    herding = join(board, 150, 7)
    board.rows_used = 0
    assert herding.may_take(LISTENER)
    assert herding.count_surplus() == 0


def test_a_long_queue_lets_the_heavier_take_some_and_ends_with_the_queue(board: Scoreboard) -> None:
    board.rows_used = 2
    heavier, _lighter = join(board, 0, 5), join(board, 1, 0)
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        for _ in range(30):  # 20 more than would bring both to five
            opened.enter_context(socket.create_connection(listener.getsockname()))
        assert heavier.may_take(listener)
        for _ in range(30):
            opened.enter_context(listener.accept()[0])
        assert sum(heavier.may_take(listener) for _ in range(20)) <= 5, (
            "a quarter of those, had it been quick"
        )
        assert not heavier.may_take(listener)


def test_it_is_full_at_its_limit_with_those_that_are_about_to_ask(board: Scoreboard) -> None:
    limited, free = Herding(board, 0, limit=2), Herding(board, 1)
    board.row(0)[IN_FLIGHT] = board.row(1)[IN_FLIGHT] = 1
    assert not limited.is_full()
    limited.note_accepted()
    assert limited.is_full()
    board.row(1)[IN_FLIGHT] = 10**6
    assert not free.is_full()


def test_a_crowded_one_finds_its_surplus(board: Scoreboard) -> None:
    crowded, empty = join(board, 0, 100), join(board, 1, 0)
    assert crowded.count_surplus() == 10
    assert empty.count_surplus() == 0
    assert board.row(1)[IN_ROTATION] == 1


def test_a_look_holds_for_a_millisecond_and_for_no_more_connections_than_then(board: Scoreboard) -> None:
    one = join(board, 0, 3)
    assert one.may_take(LISTENER)
    join(board, 1, 2)
    mine = board.row(0)
    mine[CONNECTIONS] = 4
    assert not one.may_take(LISTENER)
    other = join(board, 2, 3)
    mine[CONNECTIONS], board.row(1)[CONNECTIONS] = 2, 2
    assert one.may_take(LISTENER)
    board.row(1)[CONNECTIONS] = 0
    deadline_ns = clock.monotonic_ns() + FAIR_NS
    while clock.monotonic_ns() < deadline_ns:
        pass
    assert not one.may_take(LISTENER)
    assert not other.may_take(LISTENER)


def test_one_that_only_lacks_a_processor_is_waited_for_longer(
    board: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(herding, "read_cpu_ns", lambda _: 5_000_000)  # it gets none
    assert measure_wait_s(board) >= PATIENCE_COMING_S


def test_one_that_runs_and_takes_nothing_is_not(board: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = itertools.count()
    monkeypatch.setattr(herding, "read_cpu_ns", lambda _: next(asked) * BUSY_NS)
    measure_wait_s(board)
    assert next(asked) == 2


def measure_wait_s(board: Scoreboard) -> float:
    """Of one that has more than another, whose process (this one) runs."""
    heavier, lighter = join(board, 0, 3), join(board, 1, 1)
    began = clock.monotonic()
    while not heavier.may_take(LISTENER):
        assert clock.monotonic() < began + 10
    assert lighter.may_take(LISTENER)
    return clock.monotonic() - began
