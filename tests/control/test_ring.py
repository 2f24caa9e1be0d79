"""The last events: as many as fit, numbered, and whoever comes too late is told what was missed."""

from __future__ import annotations

import logging

import msgspec

from prefork.control.requests import Event, Missed
from prefork.control.ring import DETAIL_CHARS, KEPT, Ring


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"levelname": "INFO", "msg": message, "created": 1.5, **extra})


def test_each_event_is_told_once_and_then_nothing_until_the_next() -> None:
    ring = Ring()
    ring.emit(record("worker ready", slot=1, why=ValueError("odd"), detail="x" * 9999))
    line, number = ring.read(0)
    assert msgspec.json.decode(line or b"", type=Event) == Event(
        1.5, "info", "worker ready", {"slot": 1, "why": "odd"}, "x" * DETAIL_CHARS
    )
    assert ring.read(number) == (None, 1)
    ring.emit(record("next"))
    assert ring.read(number)[1] == 2


def test_only_the_newest_are_kept_and_the_gap_is_told() -> None:
    ring = Ring()
    for at in range(KEPT + 5):
        ring.emit(record(f"event {at}"))
    line, number = ring.read(0)
    assert msgspec.json.decode(line or b"", type=Missed) == Missed(5)
    line, number = ring.read(number)
    assert msgspec.json.decode(line or b"", type=Event).event == "event 5"
    assert (ring.first, ring.end, number) == (5, KEPT + 5, 6)


def test_text_that_is_no_unicode_costs_one_event_and_not_the_master() -> None:
    ring = Ring()
    ring.emit(record("\udcff"))
    assert b"no clean text" in (ring.read(0)[0] or b"")
