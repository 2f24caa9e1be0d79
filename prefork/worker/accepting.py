"""The accept path: poll the inherited listeners, take one connection per wake-up, give it to the service.

One at a time, because whoever is woken first must not take the whole queue while the others wake in vain. `listen()`
is never called again here: that would reset the backlog the master asked for.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Mapping

from prefork.serve.service import Service

logger = logging.getLogger("prefork.worker")

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_S = 0.1
"""Without descriptors a ready listener would wake us for ever: look again this much later."""
COMPLAIN_EVERY_S = 10.0
BACKLOG_MAX = 65535
"""No listener holds more connections than that: see listen(2)."""


class Acceptor:
    """Takes connections off the listeners. Owned by the worker's loop thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        service: Service,
        listener_fds: Mapping[int, int],
        *,
        polls: bool = True,
    ) -> None:
        """`polls`: else the master accepts, and only what nobody else would take is taken off the listeners."""
        self._loop = loop
        self._polls = polls
        self._open_connection = service.open_connection
        self._listeners = {number: socket.socket(fileno=fd) for number, fd in listener_fds.items()}
        self._connecting: set[asyncio.Task[object]] = set()
        self._is_booting = True
        self._is_polling = False
        self._resuming: asyncio.TimerHandle | None = None
        self._complained_at = -COMPLAIN_EVERY_S
        self._left: list[int] = []
        """Listeners that the service left before we were ready."""

    def start(self) -> None:
        """Poll."""
        for sock in self._listeners.values() if self._polls else ():
            self._loop.add_reader(sock.fileno(), self._accept, sock)
        self._is_polling = True
        self._is_booting = False
        self._resuming = None
        while self._left:
            self.unlisten(self._left.pop())

    def list_fds(self) -> list[int]:
        """Of the listeners that are open here."""
        return [sock.fileno() for sock in self._listeners.values()]

    def pause(self) -> None:
        """Leave rotation: what waits in the backlog is for the others."""
        for sock in self._listeners.values():
            self._loop.remove_reader(sock.fileno())
        self._is_polling = False
        if self._resuming is not None:  # a worker that leaves rotation while it holds off must not come back
            self._resuming.cancel()
            self._resuming = None

    def finish(self) -> None:
        """Nobody else will: take everything that waits in the backlog, then close our copies."""
        self.pause()
        for sock in self._listeners.values():
            while self._accept(sock):
                pass
        self.close()

    def close(self) -> None:
        """Close our copies of the listeners. Twice is fine."""
        self.pause()
        for sock in self._listeners.values():
            sock.close()
        self._listeners.clear()

    def unlisten(self, number: int) -> None:
        """The service has left this listener. In rotation, take what waits in its backlog; then close our copy."""
        sock = self._listeners.get(number)
        if sock is None:
            return
        if self._is_booting:  # it may be that nobody else is there to take them
            self._left.append(number)
            return
        is_in_rotation = self._is_polling or self._resuming is not None
        for _ in range(BACKLOG_MAX if is_in_rotation else 0):
            if not self._accept(sock):
                break
        if self._resuming is not None:  # out of descriptors: some may still wait
            self._loop.call_later(PAUSE_S, self.unlisten, number)
            return
        self._loop.remove_reader(sock.fileno())
        self._listeners.pop(number).close()

    async def wait_connected(self) -> None:
        """Return when every accepted socket has become a connection, or has failed to."""
        while self._connecting:
            await asyncio.wait(self._connecting)

    def _accept(self, listener: socket.socket) -> bool:
        """One connection; False if there was none to take."""
        try:
            sock, _addr = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False  # another worker was quicker
        except ConnectionError:
            return True  # that client left before its turn; see accept(2)
        except OSError as error:
            self._hold_off(error)
            return False
        self.admit(sock)
        return True

    def admit(self, sock: socket.socket) -> asyncio.Task[None]:
        """Connect this socket, accepted here or by the master; the task ends when it is open, or cannot be."""
        sock.setblocking(False)
        task = self._loop.create_task(self._connect(sock))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    async def _connect(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._open_connection, sock)
        except OSError:  # it left while we connected it
            sock.close()
        except Exception:
            logger.exception("a connection could not be opened")
            sock.close()

    def _hold_off(self, error: OSError) -> None:
        now = self._loop.time()
        if now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            logger.warning("cannot accept: %s", error.strerror)
        if self._is_polling:
            self.pause()
            self._resuming = self._loop.call_later(PAUSE_S, self.start)
