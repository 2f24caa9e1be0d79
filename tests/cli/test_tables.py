"""Tables fit, align, and say the same without colour."""

from __future__ import annotations

import pytest

from prefork.cli import tables
from prefork.cli.tables import lay_out, paint, show_latency, show_rate, show_size, show_span


def test_columns_align_and_no_name_drives_the_terminal() -> None:
    lines = lay_out(
        ("NAME", "STATE", "PID", "UP"),
        [("shop", "serving", "7", "3d"), ("a\x1b[2Jb", "failed", "12345", "4s")],
        right=frozenset({"PID", "UP"}),
    )
    assert lines == [
        "NAME       STATE      PID UP",
        "shop       serving      7 3d",
        "a\\x1b[2Jb  failed   12345 4s",
    ]


@pytest.mark.parametrize("color", [True, False])
def test_colour_only_repeats_what_a_word_says(monkeypatch: pytest.MonkeyPatch, color: bool) -> None:
    monkeypatch.setattr(tables, "wants_color", lambda *_: color)
    painted = paint("shop  failed  3/4")
    assert painted == ("shop  \x1b[31mfailed\x1b[0m  3/4" if color else "shop  failed  3/4")


def test_quantities_are_short() -> None:
    assert [show_span(s) for s in (0, 59, 60, 3599, 7200, 200_000)] == ["0s", "59s", "1m", "60m", "2h", "2d"]
    assert [show_size(size) for size in (None, 900, 42 * 2**20, 3 * 2**30)] == ["-", "1K", "42.0M", "3.0G"]
    assert [show_rate(rate) for rate in (0, 0.26, 12.3, 14_200)] == ["0", "0.3", "12", "14.2k"]
    assert [show_latency(s) for s in (0, 0.00041, 0.012, 1.25)] == ["-", "0.41ms", "12ms", "1.2s"]
