"""The books: a worker that ends takes nothing out of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from prefork.core.figures import Totals
from prefork.master.ledger import Ledger
from prefork.system.scoreboard import ACCEPTED, CONNECTIONS, REQUESTS, Scoreboard, make_scoreboard


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = make_scoreboard()
    yield board
    os.close(board.fd)


def test_a_counter_never_goes_back_when_its_worker_ends_or_its_row_is_used_again(board: Scoreboard) -> None:
    ledger = Ledger(board)
    ledger.open_row(0)
    ledger.open_row(1)
    board.row(0)[REQUESTS], board.row(1)[REQUESTS], board.row(1)[CONNECTIONS] = 5, 7, 3
    assert (ledger.summarise().totals.requests, ledger.summarise().connections) == (12, 3)

    ledger.close_row(1)
    ledger.close_row(1)
    assert (ledger.summarise().totals.requests, ledger.summarise().connections) == (12, 0)
    assert list(board.row(1)) == [0] * len(board.row(1)), "nobody takes it for a worker"

    ledger.open_row(1)
    board.row(1)[REQUESTS] = board.row(1)[ACCEPTED] = 1
    assert ledger.summarise().totals == Totals(requests=13, accepted=1)
    assert sorted(ledger.read()) == [0, 1]


def test_workers_are_told_how_far_to_look(board: Scoreboard) -> None:
    ledger, seen = Ledger(board), []
    for row in (0, 1, 2):
        ledger.open_row(row)
        seen.append(board.rows_used)
    for row in (1, 2, 0):
        ledger.close_row(row)
        seen.append(board.rows_used)
    assert seen == [1, 2, 3, 3, 1, 0]
