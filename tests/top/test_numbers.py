"""Numbers stay short and lose nothing that matters."""

from __future__ import annotations

import pytest

from prefork.top.curves import ASCII, BLOCKS, choose_glyphs, draw_bar, draw_curve
from prefork.top.numbers import show_age, show_count, show_percent, show_rate, show_size, show_time


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (show_rate(None), "-"),
        (show_rate(0), "0"),
        (show_rate(0.4), "0.4"),
        (show_rate(99.96), "100"),
        (show_rate(9999.4), "9999"),
        (show_rate(12_345), "12.3k"),
        (show_count(99_960), "100k"),
        (show_count(999_600), "1.0M"),
        (show_count(1_234_567_890), "1.2G"),
        (show_time(None), "-"),
        (show_time(0.0000012), "1.2us"),
        (show_time(0.000_999_6), "1.0ms"),
        (show_time(0.0123), "12ms"),
        (show_time(1.2), "1.20s"),
        (show_time(83.0), "83s"),
        (show_percent(None), "-"),
        (show_percent(312.4), "312%"),
        (show_size(None), "-"),
        (show_size(831_000), "812K"),
        (show_size(20_132_659), "19.2M"),
        (show_size(1_048_000_000), "999M"),
        (show_size(1_400_000_000), "1.3G"),
        (show_age(59.9), "59s"),
        (show_age(252), "4m12s"),
        (show_age(11_045), "3h04m"),
        (show_age(190_800), "2d05h"),
    ],
)
def test_numbers_are_short(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_curve_is_as_wide_as_it_shall_be_and_its_highest_value_reaches_the_top() -> None:
    assert draw_curve([0, 35, 70], 5, BLOCKS) == "  ▁▅█"
    assert draw_curve([9, 0, None, 70], 3, BLOCKS) == "▁ █"
    assert draw_curve([0, 0], 2, BLOCKS) == "▁▁"
    assert draw_curve([], 2, BLOCKS) == "  "


def test_a_bar_is_full_only_at_the_end() -> None:
    assert [draw_bar(share, 4, ASCII) for share in (0, 0.99, 1, 7)] == ["....", "###.", "####", "####"]


def test_a_terminal_without_blocks_gets_ascii() -> None:
    assert choose_glyphs("utf-8") is BLOCKS
    assert choose_glyphs("ascii") is ASCII
    assert "".join(ASCII).isascii()
