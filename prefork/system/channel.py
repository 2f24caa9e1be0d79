"""One end of a socketpair that carries lines of bytes and, beside them, file descriptors.

The master's ends never block: what the peer does not read waits here, up to a bound, and a peer that exceeds it is
treated as gone. EOF means that the peer died, not that it is idle; see unix(7).
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from contextlib import suppress

from prefork.errors import ProtocolError

READ_BYTES = 65536
BACKLOG_BYTES = 4 * 1024 * 1024
"""How much unsent output a peer may owe us before it counts as dead."""
MAX_FDS = 8
SPACE_BYTES = socket.CMSG_SPACE(MAX_FDS * 4)
# A received descriptor is inheritable unless asked otherwise; PEP 446 does not reach this far. See recvmsg(2).
MSG_CMSG_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def open_pair() -> tuple[Channel, socket.socket]:
    """Our end, and the raw socket to pass to the peer. Both close on exec."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours), theirs


class Channel:
    """A non-blocking end. Owned by one thread."""

    __slots__ = ("_fds", "_queue", "_sock", "is_closed", "unsent_bytes")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._queue: deque[tuple[bytes, int | None]] = deque()
        self.unsent_bytes = 0
        """How much output waits for the peer to read."""
        self._fds: list[int] = []
        self.is_closed = False

    def fileno(self) -> int:
        """For selectors."""
        return self._sock.fileno()

    def has_unsent(self) -> bool:
        """Is there output waiting for the peer to read?"""
        return bool(self._queue)

    def send(self, line: bytes, fd: int | None = None) -> None:
        """Send `line`, with a duplicate of `fd`; the caller keeps and closes its own. Never blocks, never raises for
        a peer that is gone: its EOF tells.
        """
        if self.is_closed:
            return
        kept = None if fd is None else os.dup(fd)
        self._queue.append((line, kept))
        self.unsent_bytes += len(line)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the peer lets us."""
        while self._queue:
            line, fd = self._queue[0]
            rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            try:
                sent = self._sock.sendmsg([line], rights)
            except (BlockingIOError, InterruptedError):
                if self.unsent_bytes > BACKLOG_BYTES:
                    self._drop_queue()
                    # Not close(): our selector would never hear of it, and would hold a descriptor number that the
                    # next channel gets. Shut down, both sides read the end.
                    self._sock.shutdown(socket.SHUT_RDWR)
                return
            except OSError:  # the peer is gone; its EOF is the event
                self._drop_queue()
                return
            if fd is not None:  # SCM_RIGHTS leaves with the first byte, never twice
                os.close(fd)
            self.unsent_bytes -= sent
            if sent < len(line):
                self._queue[0] = (line[sent:], None)
            else:
                self._queue.popleft()

    def receive(self, size: int = READ_BYTES) -> bytes | None:
        """What has arrived, at most `size` bytes; b"" if nothing yet, None at EOF. Descriptors wait in `take_fd`."""
        try:
            data, rights, _flags, _addr = self._sock.recvmsg(size, SPACE_BYTES, MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            return None
        for level, kind, payload in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                if not MSG_CMSG_CLOEXEC:
                    for fd in fds:
                        os.set_inheritable(fd, False)
                self._fds.extend(fds)
        if len(self._fds) > MAX_FDS:  # only a peer that lies sends descriptors without the messages for them
            return None
        return data or None

    def take_promised_fd(self) -> int:
        """The same for a message that always carries one. Raises `ProtocolError` if it did not."""
        fd = self.take_fd()
        if fd is None:
            raise ProtocolError("a message came without its descriptor")
        return fd

    def take_fd(self) -> int | None:
        """The oldest descriptor received and not taken yet; the caller owns it. It closes on exec (PEP 446)."""
        return self._fds.pop(0) if self._fds else None

    def close(self) -> None:
        """Close our end and every descriptor nobody took. Twice is fine."""
        self.is_closed = True
        self._drop_queue()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._sock.close()

    def _drop_queue(self) -> None:
        for _, fd in self._queue:
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        self._queue.clear()
        self.unsent_bytes = 0
