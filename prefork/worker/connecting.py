"""From an accepted socket to an open connection, by `loop.connect_accepted_socket`, and without a task for it.

That coroutine suspends once, on a future of the loop's, until `connection_made` was called. A task would cost a trip
through the loop before its first step, and another at its end: more than the coroutine itself. So its steps are taken
here. It never sees a cancellation of ours; nobody needs one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger("prefork.worker")


class Connecting:
    """All sockets of one loop that are not connections yet."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, open_connection: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._loop = loop
        self._open_connection = open_connection
        # libuv makes its sockets non-blocking by itself: a system call less.
        self._unblocks = not type(loop).__module__.startswith("uvloop")
        self._opening: set[_Opening] = set()
        self._waiting: asyncio.Future[None] | None = None

    def connect(self, sock: socket.socket, on_end: Callable[[], None] | None) -> None:
        """Open this one; `on_end` is called when it is open, or cannot be."""
        if self._unblocks:
            sock.setblocking(False)
        opening = _Opening(self, sock, on_end)
        self._opening.add(opening)
        opening.step(self._loop.connect_accepted_socket(self._open_connection, sock).send)

    def forget(self, opening: _Opening) -> None:
        """It is open, or cannot be."""
        self._opening.discard(opening)
        if self._waiting is not None and not self._opening:
            self._waiting.set_result(None)
            self._waiting = None

    async def wait_connected(self) -> None:
        """Return when none is left."""
        while self._opening:
            if self._waiting is None:
                self._waiting = self._loop.create_future()
            await asyncio.shield(self._waiting)


class _Opening:
    __slots__ = ("_connecting", "_on_end", "_send", "_sock")

    def __init__(
        self, connecting: Connecting, sock: socket.socket, on_end: Callable[[], None] | None
    ) -> None:
        self._connecting = connecting
        self._sock = sock
        self._on_end = on_end

    def step(self, send: Callable[[None], asyncio.Future[object]]) -> None:
        """Go on, until it waits for something again. What it waits for is a future: a loop has nothing else."""
        self._send = send
        self._go_on(None)

    def _go_on(self, _done: asyncio.Future[object] | None) -> None:
        try:
            future = self._send(None)
        except StopIteration:
            pass
        except (OSError, asyncio.CancelledError):  # it left while we connected it
            self._sock.close()
        except Exception:
            logger.exception("a connection could not be opened")
            self._sock.close()
        else:
            future._asyncio_future_blocking = False  # noqa: SLF001  # what a task does; see asyncio.futures
            future.add_done_callback(self._go_on)
            return
        self._connecting.forget(self)
        if self._on_end is not None:
            self._on_end()
