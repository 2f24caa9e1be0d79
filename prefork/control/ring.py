"""The last lines of the master's log, whatever its level writes: what `prefork events` shows and goes on from.

A line is kept encoded, as it will be sent, so that two hundred of them cost tens of kilobytes.
"""

from __future__ import annotations

import logging
from collections import deque

import msgspec

from prefork.control.requests import Event, Missed
from prefork.system.log_lines import fields_of

KEPT = 200
DETAIL_CHARS = 4096

Scalar = str | int | float | bool


class Ring(logging.Handler):
    """The newest events, numbered from 0 on."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.end = 0
        """The number that the next event gets."""
        self._lines: deque[bytes] = deque(maxlen=KEPT)

    @property
    def first(self) -> int:
        """The oldest that is left."""
        return self.end - len(self._lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        fields: dict[str, Scalar | None] = {
            key: value if isinstance(value, Scalar) else str(value)
            for key, value in fields_of(record).items()
        }
        event = Event(
            time=record.created,
            level=record.levelname.lower(),
            event=record.getMessage(),
            fields=fields,
            detail=str(getattr(record, "detail", ""))[:DETAIL_CHARS],
        )
        # Text of the app's may hold what is no UTF-8.
        self._lines.append(_encode(event))
        self.end += 1

    def read(self, number: int) -> tuple[bytes | None, int]:
        """The line of this number and the number to ask for next; None if it has not happened yet.

        Whoever comes too late is told how much was missed.
        """
        if number < self.first:
            return _encode(Missed(self.first - number)), self.first
        if number >= self.end:
            return None, number
        return self._lines[number - self.first], number + 1


def _encode(answer: Event | Missed) -> bytes:
    try:
        return msgspec.json.encode(answer) + b"\n"
    except UnicodeEncodeError:
        return msgspec.json.encode(Event(0.0, "info", "an event that is no clean text")) + b"\n"
