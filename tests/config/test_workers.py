"""Worker counts: expressions over the CPUs, never below one."""

from __future__ import annotations

import pytest

from prefork.config.values import RefusedValueError
from prefork.config.workers import Workers, count_workers, parse_instances, parse_workers, show_workers


def eight() -> tuple[int, str]:
    return 8, "8 CPUs (affinity 8, no cgroup quota)"


def one() -> tuple[int, str]:
    return 1, "1 CPU (affinity 1, no cgroup quota)"


@pytest.mark.parametrize(
    ("written", "on_eight", "on_one"),
    [
        ("max", 8, 1),
        ("MAX", 8, 1),
        ("max-1", 7, 1),
        ("max - 3", 5, 1),
        ("max-99", 1, 1),
        ("50%", 4, 1),
        ("30%", 2, 1),
        ("100%", 8, 1),
        ("200%", 16, 2),
        ("9999%", 799, 99),
        ("1", 1, 1),
        ("24", 24, 24),
        (24, 24, 24),
    ],
)
def test_an_expression_counts_workers(written: object, on_eight: int, on_one: int) -> None:
    asked = parse_workers(written)
    assert (count_workers(asked, eight)[0], count_workers(asked, one)[0]) == (on_eight, on_one)


def test_the_reason_is_told_for_what_was_computed_only() -> None:
    assert count_workers(parse_workers("max-1"), eight) == (7, "max-1: 8 CPUs (affinity 8, no cgroup quota)")
    assert count_workers(parse_workers("4"), eight) == (4, "")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("0", "below 1"),
        (0, "below 1"),
        ("-1", "below 1"),
        ("5000", "above 4096"),
        ("0%", "no worker at all"),
        ("min", "not a number of workers"),
        ("max+1", "not a number of workers"),
        ("1.5", "not a number of workers"),
        ("", "not a whole number"),
        (1.5, "not a whole number"),
        (True, "not a whole number"),
    ],
)
def test_an_impossible_count_is_refused(written: object, problem: str) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse_workers(written)
    assert refused.value.message == problem


@pytest.mark.parametrize(
    ("written", "shown"),
    [("0", "max"), (0, "max"), ("-1", "max-1"), (-2, "max-2"), ("max", "max"), ("4", "4")],
)
def test_instances_count_as_in_pm2(written: object, shown: str) -> None:
    assert show_workers(parse_instances(written)) == shown


@pytest.mark.parametrize("text", ["max", "max-1", "50%", "50%-1", "7"])
def test_shown_as_it_is_written(text: str) -> None:
    asked = Workers(percent=50, less=1) if text == "50%-1" else parse_workers(text)
    assert show_workers(asked) == text
