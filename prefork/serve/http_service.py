"""What all HTTP connections of one worker share: counters, clock, learnt names, and how the worker stops.

One tick for all deadlines, armed only while a connection is open: an idle worker sleeps, and no request ever costs
a timer. It must never look into a request; `AsgiService` and `WsgiService` say what an exchange is.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Protocol

from prefork.serve.clock import Clock
from prefork.serve.deadlines import Watch, check_deadlines
from prefork.serve.ends import Client
from prefork.serve.exchange import Exchange
from prefork.serve.http import HttpConnection
from prefork.serve.leaving import Leaving
from prefork.serve.reader import RequestReader
from prefork.serve.seldom import Seldom
from prefork.serve.service import CONNECTIONS, IN_FLIGHT, Cells, Counters
from prefork.serve.settings import ServeSettings, needs_attendant
from prefork.serve.tally import Tally
from prefork.serve.vocabulary import Vocabulary

if TYPE_CHECKING:
    from prefork.serve.access_log import AccessLog
    from prefork.serve.attendant import Attendant
    from prefork.serve.slow import SlowLog
    from prefork.serve.websocket_exchange import WebSocketExchange

logger = logging.getLogger("prefork.worker")

SLOWEST_TICK_S = 0.5
FASTEST_TICK_S = 0.02
TICKS_PER_DEADLINE = 8
BAD_INPUT_EVERY_S = 1.0
"""At most one line about bad input in so long a time, whatever the clients send."""


class HasClient(Protocol):
    """What sends us bytes."""

    client: Client


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
        self.catch_up: Callable[[], None] = _hear_nothing
        self.leaving = Leaving(self)
        self._connections: set[HttpConnection] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self.abandons = settings.request_timeout_s > 0
        """Requests may be given up."""
        waits = [
            wait
            for wait in (
                settings.keep_alive_s,
                settings.header_timeout_s,
                settings.request_timeout_s,
                settings.ws_ping_interval_s,
                settings.ws_ping_timeout_s,
            )
            if wait > 0
        ]
        ticks = [wait / TICKS_PER_DEADLINE for wait in waits]
        if settings.slow_s > 0:
            ticks.append(settings.slow_s / 2)
        self._tick_s = max(FASTEST_TICK_S, min([SLOWEST_TICK_S, *ticks]))
        self.awaited: list[asyncio.Future[None]] = []
        """Of those who wait for the drain."""
        self._bad_input = Seldom(BAD_INPUT_EVERY_S)
        self._slow_log: SlowLog | None = None
        self._attendant: Attendant | None = None
        if needs_attendant(settings):
            self._call_attendant()

    # The worker's side.

    def count_in(self, cells: Cells) -> None:
        self.counters = Counters(cells, self.tally)
        self.cells = cells

    def log_access(self, log: AccessLog) -> None:
        self._call_attendant().log_to(log)

    def open_connection(self) -> HttpConnection:
        attendant = self._attendant
        if attendant is None or not attendant.attends_connections:
            return HttpConnection(self)
        return attendant.open_connection()

    def drain(self) -> None:
        if not self.draining:
            self._draining_since = self.loop.time()
        self.draining = True
        self.settle_close()

    def ask_to_leave(self, count: int) -> int:
        self.leaving.ask(0 if self.draining else count)
        return self.leaving.asked

    def hear_by(self, catch_up: Callable[[], None]) -> None:
        self.catch_up = catch_up

    async def wait_drained(self) -> None:
        while self.is_busy():
            drained = self.loop.create_future()
            self.awaited.append(drained)
            await drained

    def cut(self) -> int:
        lost = self.counters.in_flight
        for connection in tuple(self._connections):
            connection.cut()
        return lost

    # The connections' side.

    def make_reader(self, connection: HttpConnection) -> RequestReader:
        """What reads the requests of this connection; its ends are known."""
        attendant = self._attendant
        if attendant is not None and attendant.reads_for(connection):
            return attendant.make_reader(connection)
        return RequestReader(connection, self.vocabulary, self.settings)

    def make_exchange(self, connection: HttpConnection) -> Exchange:
        """A new exchange of this service's interface for one connection."""
        raise NotImplementedError

    def judge_slow(self, exchange: Exchange, watch: Watch, now: float) -> float:
        """A request has been in flight for long: tell of it if it hangs. Returns when to ask again."""
        if self._slow_log is None:
            from prefork.serve.slow import SlowLog  # noqa: PLC0415  # when the first request is slow

            self._slow_log = SlowLog(self.settings.slow_s)
        return self._slow_log.judge(exchange, watch, now)

    def settle_close(self) -> None:
        """Whether responses have to ask has changed."""
        self.says_close = self.draining or not self.keeps_alive or self.leaving.left > 0

    def grant_upgrade(self, connection: HttpConnection, asked: Exchange) -> WebSocketExchange | None:  # noqa: ARG002
        """What is to be answered instead of a request to upgrade; None: serve it as the plain request it also is."""
        return None

    def has_open(self) -> bool:
        """Whether a connection is open."""
        return bool(self._connections)

    def is_busy(self) -> bool:
        """Whether anything still has to end before the service is drained."""
        return self.has_open()

    def open(self, connection: HttpConnection) -> None:
        """Count a connection in and see to its deadlines."""
        self._connections.add(connection)
        self.cells[CONNECTIONS] += 1
        if self._ticking is None:
            self.clock.refresh()
            connection.since = self.clock.now  # which it took from a clock that stood still
            self._ticking = self.loop.call_later(self._tick_s, self._tick)

    def close(self, connection: HttpConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self.tally.close(was_timed=connection.is_timed)
        self.cells[CONNECTIONS] -= 1
        self.tell_drained()

    def release(self, connection: HttpConnection) -> None:
        """Its one request in flight was answered by handing over the transport: it is still open, and not HTTP's."""
        self._connections.discard(connection)
        self.cells[IN_FLIGHT] -= 1
        self.tally.count_switch(was_timed=connection.is_timed)

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
        if self.awaited and not self.is_busy():
            waiting, self.awaited = self.awaited, []
            for drained in waiting:
                if not drained.done():
                    drained.set_result(None)

    def note_bad_input(self, whose: HasClient, why: Exception, data: bytes) -> None:
        """One DEBUG line, escaped and rate-limited; never more, whatever the bytes are."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        if times := self._bad_input.count(self.clock.now):
            logger.debug(
                "bad request client=%s why=%r begins=%r times=%d", whose.client, str(why), data[:64], times
            )

    def _call_attendant(self) -> Attendant:
        if self._attendant is None:
            from prefork.serve.attendant import Attendant  # noqa: PLC0415  # for those who need one

            self._attendant = Attendant(self)
        return self._attendant

    def _tick(self) -> None:
        self.clock.refresh()
        if not self.has_open():
            self._ticking = None
            return
        self._ticking = self.loop.call_later(self._tick_s, self._tick)
        self.look(self.clock.now)

    def look(self, now: float) -> None:
        """Judge the deadlines of every connection."""
        for connection in tuple(self._connections):
            check_deadlines(connection, now)


def _hear_nothing() -> None:
    """Stands in for the worker's ear where there is none."""
