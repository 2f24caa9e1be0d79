"""The beat: proof that the serving loop runs, written by that loop and by nothing else.

A side thread that answered for the loop would be a lie: it is the loop that serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prefork.system import clock
from prefork.system.scoreboard import TICK

BEAT_EVERY_S = 0.5


class Heart:
    """Writes the tick of this worker's row. `also` is called at each beat."""

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

    def start(self) -> None:
        """Beat now, and every half second."""
        self._row[TICK] = clock.monotonic_ns()
        self._also()
        self._timer = self._loop.call_later(BEAT_EVERY_S, self.start)

    def stop(self) -> None:
        """The loop ends."""
        if self._timer is not None:
            self._timer.cancel()
