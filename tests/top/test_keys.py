"""Bytes of a terminal → keys."""

from __future__ import annotations

import pytest

from prefork.top.keys import split_keys


@pytest.mark.parametrize(
    ("typed", "keys", "rest"),
    [
        ("q", ["q"], ""),
        ("\x1b[A\x1bOB+", ["up", "down", "+"], ""),
        ("\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["pageup", "pagedown", "home", "end"], ""),
        ("\x1b", ["escape"], ""),
        ("r\x1b[", ["r"], "\x1b["),
        ("\x1b[1;5Ak", ["k"], ""),
        ("\x1b[" + "9" * 40, [], ""),
        ("\r\t\x00\x07", ["enter", "tab"], ""),
        ("\x1b\x1b[B", ["escape", "down"], ""),
    ],
)  # fmt: skip
def test_keys_have_names_and_unknown_sequences_press_nothing(typed: str, keys: list[str], rest: str) -> None:
    assert split_keys(typed) == (keys, rest)


def test_a_sequence_that_comes_in_two_reads_is_one_key() -> None:
    keys, rest = split_keys("\x1b[")

    assert keys == []
    assert split_keys(rest + "A") == (["up"], "")
