"""The first is told at once, all others together and seldom."""

from __future__ import annotations

from prefork.serve.seldom import Seldom


def test_the_first_is_told_at_once_and_those_after_it_are_told_together() -> None:
    seldom = Seldom(10.0)
    assert [seldom.count(now) for now in (5.0, 5.0, 14.9, 15.0, 15.1, 100.0)] == [1, 0, 0, 3, 0, 2]
