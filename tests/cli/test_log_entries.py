"""Lines → entries: what belongs together, whose it is, how bad it is, and how it is shown."""

from __future__ import annotations

import json

import pytest

from prefork.cli.log_entries import (
    Entry,
    find_moment,
    group_backward,
    group_forward,
    parse_line,
    show,
    show_json,
)

STAMP = b"[2026-01-01 12:00:00 +0000]"
LINES = [
    STAMP + b" [7] [INFO] serving workers=2 gen=1",
    STAMP + b" [9] [ERROR] the app raised method=GET path='/' slot=1 gen=1",
    b"Traceback (most recent call last):",
    b"ValueError: x",
    STAMP + b" [9] [OUT] slot=1 slot=5 printed",
]


def parse(line: bytes) -> Entry:
    entry = parse_line(line)
    assert entry is not None
    return entry


def test_a_traceback_belongs_to_the_line_before_it_read_from_either_end() -> None:
    forward = list(group_forward(LINES))
    assert [entry.text.count(b"\n") for entry in forward] == [0, 2, 0]
    assert list(group_backward(LINES[::-1])) == forward[::-1]


def test_between_records_a_line_of_nobodys_stands_alone() -> None:
    lines = [b'{"event":"a"}', b"raw", b"more", b'{"event":"b"}']
    assert [entry.text for entry in group_forward(lines)] == lines
    assert [entry.text for entry in group_backward(lines[::-1])] == lines[::-1]


def test_what_comes_later_of_a_traceback_is_of_the_same_worker() -> None:
    (first,) = group_forward(LINES[1:2])
    assert [entry.slot for entry in group_forward(LINES[2:4], first)] == [1]


@pytest.mark.parametrize(
    ("line", "workers", "is_bad"),
    [
        (STAMP + b" [7] [WARNING] worker exited slot=3 gen=1 pid=412 how=SIGKILL", {3, 412, 7}, True),
        (STAMP + b" [7] [INFO] worker ready slot=3 gen=1 pid=412", {3, 412, 7}, False),
        (STAMP + b" [9] [OUT] slot=1 slot=5 pid=6", {1, 9}, False),
        (b"[9] [ERR] slot=1 x", {1, 9}, True),
        (STAMP + b" [9] [OUT] slot=- at import", {9}, False),
        (b'{"level":"error","slot":1,"pid":9,"event":"x"}', {1, 9}, True),
        (b'{"level":"error","stream":"stdout","event":"x"}', set(), True),
    ],
)
def test_a_line_says_which_worker_it_is_about_and_whether_it_is_bad(
    line: bytes, workers: set[int], is_bad: bool
) -> None:
    entry = parse(line)
    assert {number for number in range(500) if entry.is_about(number)} == workers
    assert entry.is_bad() is is_bad


def test_moments_of_both_formats_can_be_compared() -> None:
    text = parse(b"[2026-01-01 13:00:00 +0100] [7] [INFO] x")
    record = parse(b'{"time":"2026-01-01T12:00:00.000Z","event":"x"}')
    assert find_moment(text) == find_moment(record) == 1767268800.0
    assert find_moment(Entry(b"raw")) == 0.0


def test_a_terminal_is_shown_colours_and_obeys_nothing_else() -> None:
    entry = Entry(b"\x1b[31mred\x1b[0m \x1b]0;title\x07\r")
    assert show(entry, "", is_terminal=True) == "\x1b[31mred\x1b[0m \\x1b]0;title\\x07\\r\n"
    assert show(entry, "shop", is_terminal=False) == "shop | \x1b[31mred\x1b[0m \x1b]0;title\x07\r\n"


def test_every_line_of_an_entry_stands_behind_the_name() -> None:
    assert show(Entry(b"a\nb"), "shop", is_terminal=False) == "shop | a\nshop | b\n"


def test_text_becomes_an_object_with_the_fields_of_a_record() -> None:
    _, raised, printed = group_forward(LINES)
    assert json.loads(show_json(raised, "shop")) == {
        "name": "shop", "time": "2026-01-01 12:00:00 +0000", "level": "error", "slot": 1, "pid": 9,
        "event": "the app raised method=GET path='/' slot=1 gen=1",
        "detail": "Traceback (most recent call last):\nValueError: x",
    }  # fmt: skip
    assert json.loads(show_json(printed, "shop"))["event"] == "slot=5 printed"
    assert json.loads(show_json(Entry(b"raw \xff"), "shop")) == {"name": "shop", "event": "raw \ufffd"}
