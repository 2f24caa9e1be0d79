"""All open WebSockets of one worker: when to ping, and how they end when the worker drains.

A drain closes them one after the other, spread over a short time at random, so that their clients do not come back
all at once; and each, if it can be, at a moment when its client has said nothing that the app has not answered. Who
is never quiet is closed all the same when the patience with it is over.

No timer per socket: the service's tick looks at all of them, and one timer paces a drain.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from prefork.serve.service import CONNECTIONS
from prefork.serve.websocket_deadlines import check_deadlines

if TYPE_CHECKING:
    from prefork.serve.asgi import AsgiService
    from prefork.serve.websocket import WebSocketConnection

logger = logging.getLogger("prefork.worker")

SERVICE_RESTART = 1012
RESTART_REASON = "service restart"
STEP_S = 0.02
LONGEST_SPREAD_S = 2.0
SPREAD_PER_SOCKET_S = 0.01
LONGEST_PATIENCE_S = 2.0
SHARE_OF_GRACEFUL = 0.25
"""Of the graceful time, each of the two takes at most so much: the rest is for the clients' answers."""


class WebSocketGroup:
    """What the open sockets of a service share."""

    __slots__ = (
        "_drain",
        "_graceful_s",
        "_leaving",
        "_loop",
        "_pacing",
        "_service",
        "clock",
        "max_size_bytes",
        "members",
        "ping_interval_s",
        "ping_timeout_s",
        "stall_s",
    )

    def __init__(self, service: AsgiService) -> None:
        settings = service.settings
        self._service = service
        self._loop = service.loop
        self._drain = settings.drain_websockets
        self._graceful_s = settings.graceful_timeout_s
        self.clock = service.clock
        self.max_size_bytes = settings.ws_max_size_bytes
        self.ping_interval_s = settings.ws_ping_interval_s
        self.ping_timeout_s = settings.ws_ping_timeout_s
        self.stall_s = service.stall_s
        self.members: set[WebSocketConnection] = set()
        self._leaving: list[tuple[float, float, WebSocketConnection]] = []
        """From when each may be closed, until when it may be busy; the next last."""
        self._pacing: asyncio.Handle | None = None

    def add(self, socket: WebSocketConnection) -> None:
        """It is open; while draining only for a moment."""
        self.members.add(socket)
        if self._service.draining and self._drain == "close":
            self._let_go([socket])

    def discard(self, socket: WebSocketConnection) -> None:
        """Its connection is lost."""
        self.members.discard(socket)
        self._service.cells[CONNECTIONS] -= 1
        self._service.tell_drained()

    def look(self, now: float) -> None:
        """Judge the deadlines of each."""
        for socket in tuple(self.members):
            check_deadlines(socket, now)

    def drain(self) -> None:
        """Close them all within a short time, or let them be."""
        if self._drain == "close":
            self._let_go(list(self.members))

    def cut(self) -> None:
        """Close them now, whatever they are doing."""
        if self.members:
            logger.warning("WebSockets cut", extra={"connections": len(self.members)})
        for socket in tuple(self.members):
            socket.cut(SERVICE_RESTART, RESTART_REASON)

    def note_bad_input(self, whose: Any, why: str) -> None:
        """At most a line a second, at DEBUG."""
        self._service.note_bad_input(whose, ValueError(why), b"")

    def _let_go(self, sockets: list[WebSocketConnection]) -> None:
        now = self._loop.time()
        share_s = self._graceful_s * SHARE_OF_GRACEFUL
        spread_s = min(LONGEST_SPREAD_S, share_s, SPREAD_PER_SOCKET_S * len(sockets))
        patience_s = min(LONGEST_PATIENCE_S, share_s)
        for socket in sockets:
            at = now + random.random() * spread_s
            self._leaving.append((at, at + patience_s, socket))
        self._leaving.sort(key=lambda leaving: leaving[0], reverse=True)
        if self._pacing is None:
            self._pacing = self._loop.call_soon(self._step)

    def _step(self) -> None:
        now = self._loop.time()
        busy = []
        while self._leaving and self._leaving[-1][0] <= now:
            leaving = self._leaving.pop()
            _, latest, socket = leaving
            if socket not in self.members:
                continue
            if socket.is_quiet() or now >= latest:
                socket.leave(SERVICE_RESTART, RESTART_REASON)
            else:
                busy.append(leaving)
        self._leaving += reversed(busy)
        self._pacing = self._loop.call_later(STEP_S, self._step) if self._leaving else None
