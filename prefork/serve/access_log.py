"""The access log of one worker: a line for each request, those of a few milliseconds in one write.

It must never hold the loop up: what finds no room waits, then is dropped, and the
log says how many. What a line says is `access_line`'s; where lines go is the sink's, which a worker brings along.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

from prefork.serve.access_line import (
    SHORT_VALUE_CHARS,
    Facts,
    Render,
    Stamp,
    compile_json,
    compile_text,
    tells_seconds,
)

logger = logging.getLogger("prefork.worker")

EVERY_S = 0.01
"""Lines are written so long after the first of them: a write for each turn of the loop would cost a busy worker, whose
turns are short, more than all else here. Who is killed by SIGKILL loses as much.
"""
RETRY_S = 0.02
"""When there was no room: how long until we look again."""
COMPLAIN_EVERY_S = 10.0
LAST_S = 0.5
"""For what is still unwritten when the worker ends."""


class Sink(Protocol):
    """Takes whole lines; never waits."""

    dropped: int
    """Lines that found no room; whoever tells of them sets it back."""
    most_line_bytes: int
    """Longer lines would be torn; 0: no limit."""

    def write(self, lines: bytes, /) -> bool:
        """Whether all is written now; if not, call again."""

    def finish(self, limit_s: float, /) -> None:
        """The last call: wait for so long at most."""


class AccessLog:
    """Owned by the loop's thread."""

    __slots__ = (
        "_complained_at",
        "_context",
        "_loop",
        "_render",
        "_render_short",
        "_sink",
        "_stamp",
        "is_due",
        "noted",
        "timer",
    )

    def __init__(  # made in one place
        self,
        line_format: str,
        *,
        as_json: bool,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        wall: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        stamp, compile_line = Stamp(wall), compile_json if as_json else compile_text
        self._stamp = stamp
        self._render: Render = compile_line(line_format, stamp)
        self._render_short: Render = compile_line(line_format, stamp, SHORT_VALUE_CHARS)
        self._sink = sink
        self._loop = loop
        self.timer = timer if as_json or tells_seconds(line_format) else None
        """Seconds, finer than the loop's own clock, which stands still within a turn; None if no line says any."""
        self.noted: list[Facts] = []
        """Since the last lines were written."""
        self.is_due = False
        """The next ones will be."""
        # Flushing is nobody's request: it runs in a context of its own.
        self._context = Context()
        self._complained_at = -COMPLAIN_EVERY_S

    def note(self, facts: Facts) -> None:
        """Take what a line will say of a request that has ended."""
        self.noted.append(facts)
        if not self.is_due:
            self.fall_due()

    def fall_due(self) -> None:
        """Something was noted: write it soon."""
        self.is_due = True
        self._loop.call_later(EVERY_S, self._flush, context=self._context)

    def measure(self, started_s: float) -> float:
        """Seconds since the `timer` said so; 0 if nobody wants to know."""
        return self.timer() - started_s if self.timer is not None else 0.0

    def _flush(self) -> None:
        if self._sink.write(self._render_noted()):
            self.is_due = False
        else:
            self._loop.call_later(RETRY_S, self._flush, context=self._context)
        if self._sink.dropped:
            self._complain()

    def _render_noted(self) -> bytes:
        """All lines at once: what is done many times in a row costs half of what it costs in between."""
        self._stamp.refresh()
        noted, self.noted = self.noted, []
        render, most = self._render, self._sink.most_line_bytes
        try:
            lines = [render(*facts) for facts in noted]
        except (TypeError, ValueError, AttributeError):
            lines = [self._render_spoilt(facts) for facts in noted]
        if most:
            for index, line in enumerate(lines):
                if len(line) >= most:
                    lines[index] = self._render_short(*noted[index])[: most - 1]
        lines.append("")
        return "\n".join(lines).encode("utf-8", "backslashreplace")

    def _render_spoilt(self, facts: Facts) -> str:
        # The app owns the list of fields too, and has put something else into it.
        try:
            return self._render(*facts)
        except (TypeError, ValueError, AttributeError):
            return self._render(*facts[:3], [], *facts[4:])

    def _complain(self) -> None:
        now = self._loop.time()
        if now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            logger.warning("access log lines dropped: no room for them", extra={"lines": self._sink.dropped})
            self._sink.dropped = 0

    def close(self) -> None:
        """The worker has ended, its loop does not run any more: write what is left."""
        self._sink.write(self._render_noted())
        self._sink.finish(LAST_S)
        if self._sink.dropped:
            logger.warning("access log lines dropped: no room for them", extra={"lines": self._sink.dropped})
