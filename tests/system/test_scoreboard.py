"""The scoreboard: rows that do not touch each other, in memory that survives a fork."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator

import pytest

from prefork.core.figures import Record
from prefork.system.scoreboard import CONNECTIONS, ROW_NUMBERS, ROWS, TICK, Scoreboard, make_scoreboard
from tests.system.children import run_python

FULL = [2**64 - 1] * ROW_NUMBERS
EMPTY = [0] * ROW_NUMBERS


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = make_scoreboard()
    yield board
    os.close(board.fd)


def filled_rows(board: Scoreboard) -> dict[int, list[int]]:
    rows = {index: list(board.row(index)) for index in range(ROWS)}
    return {index: row for index, row in rows.items() if row != EMPTY}


@pytest.mark.parametrize("index", [0, 1, 511, ROWS - 1])
def test_a_row_is_written_without_touching_its_neighbours(board: Scoreboard, index: int) -> None:
    assert filled_rows(board) == {}
    board.row(index)[:] = memoryview(bytes(b"\xff" * 8 * ROW_NUMBERS)).cast("Q")
    assert filled_rows(board) == {index: FULL}


def test_clearing_a_row_clears_that_row_alone(board: Scoreboard) -> None:
    for index in (3, 4, 5):
        board.row(index)[:] = memoryview(bytes(b"\xff" * 8 * ROW_NUMBERS)).cast("Q")
    board.clear_row(4)
    assert filled_rows(board) == {3: FULL, 5: FULL}


def test_a_tick_is_told_in_seconds_and_none_is_zero(board: Scoreboard) -> None:
    board.row(7)[TICK] = 1_500_000_000
    board.row(7)[CONNECTIONS] = 9
    assert [board.tick_s(6), board.tick_s(7)] == [0.0, 1.5]


def test_what_a_worker_writes_after_the_fork_is_read_before_it() -> None:
    code = """
import os
from prefork.system.scoreboard import REQUESTS, make_scoreboard
board = make_scoreboard()
if (pid := os.fork()) == 0:
    board.row(5)[REQUESTS] = 77
    os._exit(0)
os.waitpid(pid, 0)
print(list(board.row(5)))
"""
    assert run_python(code) == f"{[0, 0, 0, 77, *[0] * (ROW_NUMBERS - 4)]}\n"


def test_what_is_written_through_a_passed_descriptor_is_read_by_the_maker(board: Scoreboard) -> None:
    code = """
import sys
from prefork.system.scoreboard import IN_FLIGHT, Scoreboard
Scoreboard(int(sys.argv[1])).row(1023)[IN_FLIGHT] = 3
"""
    run_python(code, board.fd, pass_fds=[board.fd])
    assert filled_rows(board) == {1023: [0, 0, 3, *[0] * (ROW_NUMBERS - 3)]}


def test_its_descriptor_closes_on_exec(board: Scoreboard) -> None:
    assert not os.get_inheritable(board.fd)


def test_a_column_is_one_number_of_neighbouring_rows(board: Scoreboard) -> None:
    for index in range(6):
        board.row(index)[CONNECTIONS] = 10 + index
    assert board.column(CONNECTIONS, 2, 5) == [12, 13, 14]
    assert board.column(TICK, 2, 5) == [0, 0, 0]


def test_a_record_has_every_number_that_a_worker_writes(board: Scoreboard) -> None:
    board.row(9)[:] = memoryview(array("Q", range(100, 100 + ROW_NUMBERS)))
    assert board.read(9) == Record(
        tick_ns=100,
        connections=101,
        in_flight=102,
        requests=103,
        opening=104,
        accepted=105,
        in_rotation=True,
        statuses=(108, 109, 110, 111, 112),
        bytes_in=113,
        bytes_out=114,
        busy_ns=115,
        lag_ns=116,
        shed=117,
        latency=tuple(range(132, 164)),
    )


def test_how_many_rows_are_in_use_is_told_beside_them(board: Scoreboard) -> None:
    board.rows_used = 17
    assert Scoreboard(board.fd).rows_used == 17
    assert filled_rows(board) == {}
