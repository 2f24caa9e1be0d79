"""A service behind a door: connections reach it when a proxy's header and a TLS handshake are behind them.

To the worker it is the service: it accepts, drains and stops the same way. Those who wait in the door are nobody's
connections yet, but they are waited for: a drain gives them the time that it gives a fresh connection, and no more.

Without `--proxy-protocol` and without TLS there is none, and nothing here is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from prefork.serve.door import Door, Stage
from prefork.serve.ends import has_unread
from prefork.serve.seldom import Seldom
from prefork.serve.service import Cells, Service
from prefork.serve.settings import ServeSettings
from prefork.serve.tls_facts import Tls
from prefork.serve.trust import TrustedPeers

if TYPE_CHECKING:
    from prefork.serve.access_log import AccessLog

logger = logging.getLogger("prefork.worker")

LINGER_S = 2.0
"""How long one that was turned away may take to close."""
SLOWEST_TICK_S = 0.5
FASTEST_TICK_S = 0.02
TICKS_PER_DEADLINE = 8
NOTE_EVERY_S = 1.0
"""At most one line about bad openings in so long a time, whatever the clients send."""
HEADERLESS_EVERY_S = 60.0
"""The same of those who are trusted to send a PROXY header: they are the operator's."""


class Entrance:
    """Implements `service.Service` in front of another."""

    def __init__(
        self,
        service: Service,
        settings: ServeSettings,
        loop: asyncio.AbstractEventLoop,
        tls: Tls | None,
        *,
        speaks_http: bool,
    ) -> None:
        self.counters = service.counters
        self.tls = tls
        self.speaks_http = speaks_http
        self.now = loop.time
        self._service = service
        self._loop = loop
        self._keep_alive_s = settings.keep_alive_s
        self._patience_s = settings.ssl_handshake_timeout_s if tls else settings.header_timeout_s or math.inf
        """How long to wait for a header, for the first byte, for the end of a handshake: for each."""
        waits = [wait for wait in (self._keep_alive_s, self._patience_s) if wait > 0]
        self._tick_s = max(FASTEST_TICK_S, min(SLOWEST_TICK_S, *(w / TICKS_PER_DEADLINE for w in waits), 1.0))
        self._trusted = TrustedPeers(settings.forwarded_allow_ips) if settings.proxy_protocol else None
        self._waiting: set[Door] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()
        self._draining_since: float | None = None
        self._noted = Seldom(NOTE_EVERY_S)
        self._headerless = Seldom(HEADERLESS_EVERY_S)

    # The worker's side.

    async def start_up(self) -> None:
        await self._service.start_up()

    def count_in(self, cells: Cells) -> None:
        self._service.count_in(cells)
        self.counters = self._service.counters

    def hear_by(self, catch_up: Callable[[], None]) -> None:
        self._service.hear_by(catch_up)

    def ask_to_leave(self, count: int) -> int:
        return self._service.ask_to_leave(count)

    def log_access(self, log: AccessLog) -> None:
        self._service.log_access(log)

    def open_connection(self) -> asyncio.BaseProtocol:
        return Door(self)

    def drain(self) -> None:
        if self._draining_since is None:
            self._draining_since = self.now()
        self._service.drain()

    async def wait_drained(self) -> None:
        while True:
            while self._waiting:
                self._emptied.clear()
                await self._emptied.wait()
            await self._service.wait_drained()
            if not self._waiting:
                return

    def cut(self) -> int:
        for door in tuple(self._waiting):
            door.transport.abort()
        return self._service.cut()

    async def shut_down(self) -> None:
        await self._service.shut_down()

    # The doors' side.

    def expects_header(self, transport: asyncio.Transport) -> bool:
        """Whether this peer has to say for whom it speaks: nobody guesses whether it does (proxy-protocol.txt §2)."""
        if self._trusted is None:
            return False
        peer = transport.get_extra_info("peername")
        return self._trusted.trusts(str(peer[0]) if isinstance(peer, (tuple, list)) else None)

    def let_wait(self, door: Door) -> None:
        """Count it, and see to its deadlines."""
        door.since = self.now()
        self._waiting.add(door)
        if self._ticking is None:
            self._ticking = self._loop.call_later(self._tick_s, self._tick)

    def let_in(self, door: Door) -> asyncio.BaseProtocol:
        """It waits no longer: the app's protocol, to be connected at once, before anybody looks whether we are busy."""
        self.forget(door)
        return self._service.open_connection()

    def forget(self, door: Door) -> None:
        """It is gone."""
        self._waiting.discard(door)
        if not self._waiting:
            self._emptied.set()

    def note(self, transport: asyncio.Transport, why: str, data: bytes) -> None:
        """One DEBUG line, escaped and rate-limited; never more, whatever the bytes are."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        if times := self._noted.count(self.now()):
            peer = transport.get_extra_info("peername") or "unix"
            logger.debug("bad opening peer=%s why=%r begins=%r times=%d", peer, why, data[:64], times)

    def note_headerless(self, transport: asyncio.Transport, why: str, data: bytes) -> None:
        """A peer that is trusted opens without a header that can be read: one of the two is misconfigured."""
        self.note(transport, why, data)
        if times := self._headerless.count(self.now()):
            peer = transport.get_extra_info("peername")
            logger.warning(
                "a trusted proxy sends no valid PROXY header, closed",
                extra={"proxy": peer[0] if peer else "unix", "why": why, "times": times},
            )

    def _tick(self) -> None:
        self._ticking = None
        if not self._waiting:
            return
        self._ticking = self._loop.call_later(self._tick_s, self._tick)
        now = self.now()
        for door in tuple(self._waiting):
            # A loop that did not run for a while may not have read what came in time.
            if now > self._find_deadline(door) and not has_unread(door.transport):
                if door.stage is Stage.LEAVING or door.transport.get_write_buffer_size():
                    door.transport.abort()  # it takes nothing: closing would wait for it
                else:
                    door.transport.close()

    def _find_deadline(self, door: Door) -> float:
        if door.stage is Stage.LEAVING:
            return door.since + LINGER_S
        deadline = door.since + self._patience_s
        if self._draining_since is not None and self._keep_alive_s > 0:
            at_last = max(door.since, self._draining_since) + self._keep_alive_s
            # As a service's fresh connections: it may have been opened long ago, and speak just now.
            return at_last if door.is_silent else min(at_last, deadline)
        return deadline
