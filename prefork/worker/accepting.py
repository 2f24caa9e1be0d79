"""The accept path: poll the inherited listeners, take one connection per wake-up, give it to the service.

One at a time, because whoever is woken first must not take the whole queue while the others wake in vain; and not even
one while `herding` says that it is for somebody else. `listen()` is never called again here: that would reset the
backlog the master asked for.

What cannot be taken waits in the backlog, and nowhere else: the others see to it, or we do when we can again. Out of
descriptors, too: to close clients with a descriptor kept in reserve would turn away who is served a moment later.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Mapping

from prefork.core.gate import LEASE_S
from prefork.serve.service import Service
from prefork.worker.connecting import Connecting, Kind, find_kind
from prefork.worker.herding import Herding

logger = logging.getLogger("prefork.worker")

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_S = 0.1
"""Without descriptors a ready listener would wake us for ever: look again this much later."""
FULL_S = 0.005
"""A worker that has enough looks again this much later."""
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
        herding: Herding | None = None,
        *,
        polls: bool = True,
    ) -> None:
        """`polls`: else the master accepts, and only what nobody else would take is taken off the listeners."""
        self._loop = loop
        self._polls = polls
        # Both loops schedule `connection_made` before they say so: what is opening is counted until it counts as open.
        self._connecting = Connecting(
            loop, service.open_connection, herding.note_opened if herding is not None else None
        )
        self._listeners = {number: socket.socket(fileno=fd) for number, fd in listener_fds.items()}
        self._kinds = {sock: find_kind(sock) for sock in self._listeners.values()}
        self._is_booting = True
        self._is_polling = False
        self._resuming: asyncio.TimerHandle | None = None
        """We hold off: out of descriptors, or full."""
        self._herding = herding
        self._aside: asyncio.TimerHandle | None = None
        """We are in rotation, and leave what waits to the others for a moment."""
        self._complained_at = -COMPLAIN_EVERY_S
        self._left: list[int] = []
        """Listeners that the service left before we were ready."""

    def start(self) -> None:
        """Poll."""
        self._poll()
        self._is_polling = True
        self._show_rotation(is_in=True)
        self._is_booting = False
        self._resuming = None
        while self._left:
            self.unlisten(self._left.pop())

    def list_fds(self) -> list[int]:
        """Of the listeners that are open here."""
        return [sock.fileno() for sock in self._listeners.values()]

    def pause(self) -> None:
        """Leave rotation: what waits in the backlog is for the others."""
        self._look_away()
        self._is_polling = False
        self._show_rotation(is_in=False)
        if self._aside is not None:
            self._aside.cancel()
            self._aside = None
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
        del self._listeners[number], self._kinds[sock]
        sock.close()

    async def wait_connected(self) -> None:
        """Return when every accepted socket has become a connection, or has failed to."""
        await self._connecting.wait_connected()

    def _poll(self) -> None:
        self._aside = None
        for sock in self._listeners.values() if self._polls else ():
            self._loop.add_reader(sock.fileno(), self._wake, sock)

    def _look_away(self) -> None:
        for sock in self._listeners.values():
            self._loop.remove_reader(sock.fileno())

    def _wake(self, listener: socket.socket) -> None:
        """A connection waits, or did when we were woken."""
        herding = self._herding
        if herding is None:
            self._accept(listener)
        elif herding.limit and herding.is_full():
            self._leave_for(FULL_S)
        elif herding.may_take(listener):
            self._accept(listener)
        elif self._aside is None:
            self._look_away()
            self._aside = self._loop.call_later(LEASE_S, self._poll)

    def _show_rotation(self, *, is_in: bool) -> None:
        if self._herding is not None:
            self._herding.show_rotation(is_in=is_in)

    def _accept(self, listener: socket.socket) -> bool:
        """One connection; False if there was none to take."""
        try:
            fd, _addr = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001  # `accept` asks for kinds
        except (BlockingIOError, InterruptedError):
            return False  # another worker was quicker
        except ConnectionError:
            return True  # that client left before its turn; see accept(2)
        except OSError as error:
            self._hold_off(error)
            return False
        self.admit(fd, self._kinds[listener])
        return True

    def admit(self, fd: int, kind: Kind, on_end: Callable[[], None] | None = None) -> None:
        """Open a connection on what was accepted here, or by the master; `on_end`: it is open, or cannot be."""
        if self._herding is not None:
            self._herding.note_accepted()
        self._connecting.connect(fd, kind, on_end)

    def _hold_off(self, error: OSError) -> None:
        now = self._loop.time()
        if now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            logger.warning("cannot accept: %s", error.strerror)
        self._leave_for(PAUSE_S)

    def _leave_for(self, seconds: float) -> None:
        if self._is_polling:
            self.pause()
            self._resuming = self._loop.call_later(seconds, self.start)
