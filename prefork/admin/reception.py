"""Takes connections off the admin listeners, no more than it can have: what is too much waits in the backlog."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from prefork.serve.service import Service

CONNECTIONS_MAX = 128
"""Each has to send its request within seconds, and is closed soon after: see `SETTINGS` in `main`."""
FULL_S = 0.05
"""When there are so many, or no descriptor is left, look again this much later."""


class Reception:
    """Owned by the loop's thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, service: Service, listeners: Sequence[socket.socket]
    ) -> None:
        self._loop = loop
        self._service = service
        self._listeners = listeners
        self._connecting: set[asyncio.Task[None]] = set()
        self._opening: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Accept."""
        for listener in self._listeners:
            listener.setblocking(False)
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def close(self) -> None:
        """Accept nobody any more."""
        if self._opening is not None:
            self._opening.cancel()
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())

    def _accept(self, listener: socket.socket) -> None:
        if self._service.counters.connections + len(self._connecting) >= CONNECTIONS_MAX:
            self._hold_off()
            return
        try:
            sock, _address = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError:  # no descriptor left
            self._hold_off()
            return
        sock.setblocking(False)
        task = self._loop.create_task(self._connect(sock))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _hold_off(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
        self._opening = self._loop.call_later(FULL_S, self.open)

    async def _connect(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._service.open_connection, sock)
        except OSError:  # it left while we connected it
            sock.close()
