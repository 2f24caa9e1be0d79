"""What all HTTP connections of one worker share: counters, clock, learnt names, and how the worker stops.

One tick for all deadlines, armed only while a connection is open: an idle worker sleeps, and no request ever costs
a timer. It must never look into a request; `AsgiService` and `WsgiService` say what an exchange is.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextvars import copy_context

from prefork.serve.clock import Clock
from prefork.serve.deadlines import check_deadlines
from prefork.serve.exchange import Exchange
from prefork.serve.http import HttpConnection
from prefork.serve.leaving import Leaving
from prefork.serve.reader import Vocabulary
from prefork.serve.service import CONNECTIONS, Cells, Counters
from prefork.serve.settings import ServeSettings
from prefork.serve.tally import Tally

logger = logging.getLogger("prefork.worker")

SLOWEST_TICK_S = 0.5
FASTEST_TICK_S = 0.02
TICKS_PER_DEADLINE = 8
BAD_INPUT_EVERY_S = 1.0
"""At most one line about bad input in so long a time, whatever the clients send."""


class HttpService:
    """The part of a `Service` that does not depend on the interface."""

    write_high_bytes = 65536
    """More than so much unsent, and the app is held back."""
    stall_s = 60.0
    """How long a client may take nothing of what waits to be written."""

    def __init__(self, settings: ServeSettings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        self.tally = Tally()
        self.counters = Counters(tally=self.tally)
        self.cells = self.counters.cells
        self.clock = Clock(loop, show_date=settings.date_header, show_server=settings.server_header)
        self.vocabulary = Vocabulary()
        self.draining = False
        self._draining_since = 0.0
        self.context = copy_context()
        """What a callback runs in that an app's code brings about: its own context must not reach the next request."""
        self.keeps_alive = settings.keep_alive_s > 0
        self.says_close = not self.keeps_alive
        """A response has to ask `may_keep_alive` before it promises another."""
        self.leaving = Leaving(self)
        self._connections: set[HttpConnection] = set()
        self._ticking: asyncio.TimerHandle | None = None
        waits = [wait for wait in (settings.keep_alive_s, settings.header_timeout_s) if wait > 0]
        self._tick_s = max(FASTEST_TICK_S, min(SLOWEST_TICK_S, *(w / TICKS_PER_DEADLINE for w in waits), 1.0))
        self._drained: list[asyncio.Future[None]] = []
        self._bad_input_at_s = -BAD_INPUT_EVERY_S
        self._bad_input_unsaid = 0

    # The worker's side.

    def count_in(self, cells: Cells) -> None:
        self.counters = Counters(cells, self.tally)
        self.cells = cells

    def open_connection(self) -> HttpConnection:
        return HttpConnection(self)

    def drain(self) -> None:
        if not self.draining:
            self._draining_since = self.loop.time()
        self.draining = True
        self.settle_close()

    def ask_to_leave(self, count: int) -> int:
        self.leaving.ask(0 if self.draining else count)
        return self.leaving.asked

    async def wait_drained(self) -> None:
        while self.is_busy():
            drained = self.loop.create_future()
            self._drained.append(drained)
            await drained

    def cut(self) -> int:
        lost = self.counters.in_flight
        for connection in tuple(self._connections):
            connection.cut()
        return lost

    # The connections' side.

    def make_exchange(self, connection: HttpConnection) -> Exchange:
        """A new exchange of this service's interface for one connection."""
        raise NotImplementedError

    def settle_close(self) -> None:
        """Whether responses have to ask has changed."""
        self.says_close = self.draining or not self.keeps_alive or self.leaving.left > 0

    def is_busy(self) -> bool:
        """Whether anything still has to end before the service is drained."""
        return bool(self._connections)

    def open(self, connection: HttpConnection) -> None:
        """Count a connection in and see to its deadlines."""
        self._connections.add(connection)
        self.cells[CONNECTIONS] += 1
        if self._ticking is None:
            self.clock.refresh()
            self._ticking = self.loop.call_later(self._tick_s, self._tick)

    def close(self, connection: HttpConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self.tally.close(was_timed=connection.is_timed)
        self.cells[CONNECTIONS] -= 1
        self.tell_drained()

    def find_fresh_deadline(self, opened_at: float) -> float:
        """Until when a connection may be silent from its beginning, in seconds of the loop's clock.

        While draining it has the time of an idle one, from the drain at the earliest: it may have been opened long
        ago, and speak just now.
        """
        settings = self.settings
        if self.draining and self.keeps_alive:
            return max(opened_at, self._draining_since) + settings.keep_alive_s
        return opened_at + (settings.header_timeout_s or math.inf)

    def tell_drained(self) -> None:
        """Wake `wait_drained` when nothing is left to wait for."""
        if self._drained and not self.is_busy():
            waiting, self._drained = self._drained, []
            for drained in waiting:
                if not drained.done():
                    drained.set_result(None)

    def note_bad_input(self, connection: HttpConnection, why: Exception, data: bytes) -> None:
        """One DEBUG line, escaped and rate-limited; never more, whatever the bytes are."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        if self.clock.now - self._bad_input_at_s < BAD_INPUT_EVERY_S:
            self._bad_input_unsaid += 1
            return
        logger.debug(
            "bad request client=%s why=%r begins=%r unsaid=%d",
            connection.client,
            str(why),
            data[:64],
            self._bad_input_unsaid,
        )
        self._bad_input_at_s = self.clock.now
        self._bad_input_unsaid = 0

    def _tick(self) -> None:
        self.clock.refresh()
        if not self._connections:
            self._ticking = None
            return
        self._ticking = self.loop.call_later(self._tick_s, self._tick)
        now = self.clock.now
        for connection in tuple(self._connections):
            check_deadlines(connection, now)
