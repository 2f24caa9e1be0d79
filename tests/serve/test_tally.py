"""Which connections are timed: all of a few, some of many."""

from __future__ import annotations

from prefork.serve.tally import ALWAYS_TIMED, TIMED_EACH, Tally


def test_all_of_a_few_are_timed_and_one_in_eight_of_the_others() -> None:
    tally = Tally()
    assert [tally.open() for _ in range(ALWAYS_TIMED)] == [True] * ALWAYS_TIMED
    assert sum(tally.open() for _ in range(80 * TIMED_EACH)) == 80


def test_with_a_connection_for_each_request_everyone_is_timed_unless_many_are_open() -> None:
    tally = Tally()
    for _ in range(100):
        is_timed = tally.open()
        assert is_timed
        tally.close(was_timed=is_timed)
