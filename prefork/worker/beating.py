"""The beat: proof that the serving loop runs, and how late it comes to it, written by that loop and by nothing else.

A side thread that answered for the loop would be a lie: it is the loop that serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prefork.core.policy import BEAT_EVERY_S
from prefork.system import clock
from prefork.system.scoreboard import LAG_NS, TICK

BEAT_EVERY_NS = int(BEAT_EVERY_S * 1e9)


class Heart:
    """Writes the tick and the lag of this worker's row. `also` is called at each beat."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        row: memoryview,
        also: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._row = row
        self._also = also
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0

    def start(self) -> None:
        """Beat now, and every half second."""
        now = clock.monotonic_ns()
        self._row[TICK] = now
        self._row[LAG_NS] = max(0, now - self._due_ns) if self._due_ns else 0
        self._due_ns = now + BEAT_EVERY_NS
        self._also()
        self._timer = self._loop.call_later(BEAT_EVERY_S, self.start)

    def stop(self) -> None:
        """The loop ends."""
        if self._timer is not None:
            self._timer.cancel()
