"""From an accepted socket to an open connection, by `loop.connect_accepted_socket`, and without a task for it.

That coroutine suspends once, on a future of the loop's, until `connection_made` was called. A task would cost a trip
through the loop before its first step, and another at its end: more than the coroutine itself. So its steps are taken
here. It never sees a cancellation of ours; nobody needs one.

uvloop only wants to know which kind of socket it is, and takes its descriptor: it gets an object that says no more than
that. A socket of Python's costs 2 µs to make, and 4 more to ask, for its answers are members of enums.
"""

from __future__ import annotations

import _socket
import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

logger = logging.getLogger("prefork.worker")

Send = Callable[[None], asyncio.Future[object]]


class Kind(NamedTuple):
    """What a socket is, in the plain numbers of socket(2)."""

    family: int
    type: int
    proto: int


def find_kind(sock: socket.socket) -> Kind:
    """Of an open socket."""
    return Kind(int(sock.family), int(sock.type), sock.proto)


def find_stream_kind(fd: int) -> Kind:
    """Of a descriptor that is a stream's: one system call asks for its family, the rest is known."""
    sock = _socket.socket(-1, _socket.SOCK_STREAM, 0, fd)
    sock.detach()
    return Kind(sock.family, _socket.SOCK_STREAM, 0)


class Connecting:
    """All sockets of one loop that are not connections yet. `on_end` is told of each that is one, or cannot be."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        open_connection: Callable[[], asyncio.BaseProtocol],
        on_end: Callable[[], None] | None,
    ) -> None:
        self._loop = loop
        self._open_connection = open_connection
        self._on_end = on_end
        self._is_uvloop = type(loop).__module__.startswith("uvloop")
        self._opening: deque[tuple[Send, asyncio.Future[object], Callable[[], None] | None]] = deque()
        self._late = 0
        """Coroutines that were not done when we thought so."""
        self._waiting: asyncio.Future[None] | None = None

    def connect(self, fd: int, kind: Kind, also: Callable[[], None] | None) -> None:
        """Open this one, which is the loop's from now on; `also` is called besides `on_end`."""
        if self._is_uvloop:  # which also makes it non-blocking by itself
            sock = cast("socket.socket", _Accepted(fd, kind))
        else:
            sock = socket.socket(*kind, fileno=fd)
            sock.setblocking(False)
        send = self._loop.connect_accepted_socket(self._open_connection, sock).send
        try:
            future = send(None)
        except Exception as error:
            if not isinstance(error, OSError):  # else it left while we connected it
                logger.exception("a connection could not be opened")
            if self._is_uvloop:
                os.close(fd)
            else:
                sock.close()
            self._tell(also)
            return
        # Both loops have just scheduled `connection_made`, and what resolves the future: this comes right behind them.
        self._opening.append((send, future, also))
        self._loop.call_soon(self._finish_first)

    async def wait_connected(self) -> None:
        """Return when none is left."""
        while self._opening or self._late:
            if self._waiting is None:
                self._waiting = self._loop.create_future()
            await asyncio.shield(self._waiting)

    def _finish_first(self) -> None:
        send, future, also = self._opening.popleft()
        if future.done():
            self._finish(send)
        else:
            self._late += 1
            future.add_done_callback(lambda _: self._finish_late(send))
        self._tell(also)

    def _finish(self, send: Send) -> None:
        try:
            send(None)
        except StopIteration:
            pass
        except (OSError, asyncio.CancelledError):
            pass  # it left while we connected it; the loop has closed it
        except Exception:
            logger.exception("a connection could not be opened")

    def _finish_late(self, send: Send) -> None:
        self._late -= 1
        self._finish(send)
        self._wake()

    def _tell(self, also: Callable[[], None] | None) -> None:
        if self._on_end is not None:
            self._on_end()
        if also is not None:
            also()
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._opening and not self._late:
            self._waiting.set_result(None)
            self._waiting = None


class _Accepted:
    """All of a socket that uvloop asks for."""

    __slots__ = ("_fd", "family", "type")

    def __init__(self, fd: int, kind: Kind) -> None:
        self._fd = fd
        self.family, self.type, _ = kind

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """The transport is closed, and the descriptor with it."""
