"""Requests that hang: told of with the app's stack while they do, and again with their length when they are answered.

Judged by the tick that looks at deadlines, so no request pays for it, and one is told of half a second late at most. A
request hangs as long as nothing of its response is on the wire and it is not the client that everybody waits for: what
is streamed and an open WebSocket have been answered, a slow upload is the client's. A long poll that keeps its client
waiting for the head cannot be told from a hang.
"""

from __future__ import annotations

import logging
import math

from prefork.serve.clock import stopwatch_ns
from prefork.serve.deadlines import Watch
from prefork.serve.exchange import Exchange, Phase
from prefork.serve.stacks import render_stack

logger = logging.getLogger("prefork.worker")

PER_MINUTE = 10
"""So many are told of in a minute; the others are counted."""
MINUTE_S = 60.0
FINAL = 200
"""Statuses below are not the answer yet."""


class SlowLog:
    """One worker's. `slow_s`: how long is too long."""

    __slots__ = ("_slow_s", "_told_at", "_untold")

    def __init__(self, slow_s: float) -> None:
        self._slow_s = slow_s
        self._told_at: list[float] = []
        self._untold = 0

    def judge(self, exchange: Exchange, watch: Watch, now: float) -> float:
        """Tell of this request if it hangs; return when to ask again, by the clock of `now`."""
        if exchange.phase not in {Phase.AWAITED, Phase.HEAD} or exchange.gone:
            return math.inf
        if not exchange.body_complete and not exchange.connection.reading_paused:
            watch.ours_since = math.inf
            return now
        watch.ours_since = min(watch.ours_since, now)
        began_ns = stopwatch_ns() - int((now - watch.ours_since) * 1e9)
        if exchange.began_ns and watch.ours_since == watch.since:  # it knows better when it began
            began_ns = exchange.began_ns
        if stopwatch_ns() - began_ns < self._slow_s * 1e9:
            return now
        self._told_at = [at for at in self._told_at if at > now - MINUTE_S]
        if len(self._told_at) >= PER_MINUTE:
            self._untold += 1
            return math.inf
        self._told_at.append(now)
        fields = _describe(exchange, began_ns)
        if self._untold:
            fields["untold"], self._untold = self._untold, 0
        stack = (
            render_stack(exchange.find_stack()) or "  nowhere that could be told: it may wait for a thread"
        )
        logger.warning("request is slow", extra={**fields, "detail": stack})
        _tell_answer(exchange, began_ns)
        return math.inf


def _tell_answer(exchange: Exchange, began_ns: int) -> None:
    """One line when it is answered after all: its way to the wire leads through here once."""
    emit = exchange.emit

    def emit_first(data: bytes) -> None:
        status = int(data[9:12]) if data.startswith(b"HTTP/1.") else 0
        if status >= FINAL or not status:
            exchange.emit = emit
            logger.warning("slow request", extra={**_describe(exchange, began_ns), "status": status})
        emit(data)

    exchange.emit = emit_first


def _describe(exchange: Exchange, began_ns: int) -> dict[str, object]:
    ms = round((stopwatch_ns() - began_ns) / 1e6)
    return {"method": exchange.method, "path": exchange.target[0], "ms": ms}
