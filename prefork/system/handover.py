"""A socketpair on which the master hands accepted connections to a worker: several descriptors in one message.

A message is given to exactly one reader, by the kernel (unix(7), SOCK_SEQPACKET), and both may read: the worker, and
the master, which keeps the worker's end open as well. That is what makes a connection's owner certain. What the worker
has received is the worker's; what it has not, the master can receive instead (`take_back`), and then no worker ever
will, however long it was stopped and whenever it goes on. There is no third state, and nobody has to be asked.

The worker says what it has received before it reads a byte of it (`acknowledge`). So a connection without an
acknowledgement, of a worker that has ended, was never touched: another may have it.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

FDS_MAX = 64
"""So many in one message; the kernel's limit is 253 (SCM_MAX_FD)."""
HANDED = struct.Struct("=QI")
"""A message to the worker: its number, and how many descriptors come with it."""
ACKNOWLEDGED = struct.Struct("=QI")
"""A message from the worker: which message, and how many of its descriptors it has."""
SPACE_BYTES = socket.CMSG_SPACE(FDS_MAX * 4)
MSG_CMSG_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# Where there are no sequenced packets, macOS, datagrams keep their bounds and their order too.
KIND = socket.SOCK_SEQPACKET if hasattr(socket, "MSG_CMSG_CLOEXEC") else socket.SOCK_DGRAM


class Acknowledged(NamedTuple):
    """What a worker says that it has received."""

    sequence: int
    taken: int


class Handed(NamedTuple):
    """A message as the worker has it. Fewer descriptors than were `sent` came if it had no room for more."""

    sequence: int
    sent: int
    fds: list[int]


def open_handover() -> Outlet:
    """Raises OSError without descriptors."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, KIND)
    ours.setblocking(False)
    theirs.setblocking(False)
    return Outlet(ours, theirs)


class Outlet:
    """The master's side: its own end, and the one that the worker has too."""

    __slots__ = ("_ours", "theirs")

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self._ours = ours
        self.theirs = theirs
        """For the worker, which gets a copy."""

    def fileno(self) -> int:
        """For selectors: readable when there is an acknowledgement."""
        return self._ours.fileno()

    def send(self, sequence: int, fds: Sequence[int]) -> bool:
        """Hand these over; the caller keeps its copies. False if the kernel has no room for them now."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._ours.sendmsg([HANDED.pack(sequence, len(fds))], rights)
        except (
            OSError
        ):  # EAGAIN; ETOOMANYREFS: too many descriptors of this user are on their way, see unix(7)
            return False
        return True

    def receive(self) -> Acknowledged | None:
        """The next acknowledgement, None if there is none. Raises ValueError for what is none."""
        try:
            data = self._ours.recv(64)
        except OSError:
            return None
        if len(data) != ACKNOWLEDGED.size:
            raise ValueError("not an acknowledgement")
        return Acknowledged._make(ACKNOWLEDGED.unpack(data))

    def take_back(self) -> list[int]:
        """The numbers of the messages that the worker has not received, and now never will."""
        taken = []
        # Received without room for descriptors, the kernel closes those: we have our own.
        with suppress(OSError):
            while True:
                taken.append(HANDED.unpack(self.theirs.recv(HANDED.size))[0])
        return taken

    def close(self) -> None:
        """Both ends. Twice is fine."""
        self._ours.close()
        self.theirs.close()


class Inlet:
    """The worker's side."""

    __slots__ = ("_sock", "is_over")

    def __init__(self, fd: int) -> None:
        self._sock = socket.socket(fileno=fd)
        self.is_over = False
        """Has everything been received, and is the master gone?"""

    def fileno(self) -> int:
        """For the loop; -1 once closed."""
        return self._sock.fileno()

    def receive(self) -> Handed | None:
        """The next message, None if there is none now: the master may have taken it back."""
        try:
            data, rights, _flags, _addr = self._sock.recvmsg(HANDED.size, SPACE_BYTES, MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            data, rights = b"", []
        fds = array.array("i")
        for level, kind, payload in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        if not data:
            self.is_over = True
            return None
        if not MSG_CMSG_CLOEXEC:
            for fd in fds:
                os.set_inheritable(fd, False)
        sequence, sent = HANDED.unpack(data)
        return Handed(sequence, sent, list(fds))

    def acknowledge(self, sequence: int, taken: int) -> bool:
        """Say that these are ours now. False if the master has not heard that and still may: then they are not."""
        try:
            self._sock.send(ACKNOWLEDGED.pack(sequence, taken))
        except BlockingIOError:
            return False
        except OSError:  # the master is gone: nobody else has them
            return True
        return True

    def close(self) -> None:
        """Let go of it. What has not been received is the master's. Twice is fine."""
        self._sock.close()
