"""Whole lines to a descriptor that many processes append to, never waiting for it.

A file takes all lines in one write(2): with O_APPEND such writes never mix. A pipe takes PIPE_BUF bytes at once or
nothing (pipe(7)), so lines go to it in groups of at most that size. What finds no room waits here, up to a bound;
past it lines are dropped and counted, whole ones only.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from collections import deque

from prefork.system.clock import monotonic
from prefork.system.lines import PIPE_BUF_BYTES, group_lines

MOST_WAITING_BYTES = 1 << 18


class LineWriter:
    """Owned by one thread. The descriptor stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[bytes] = deque()
        """Groups of whole lines."""
        self._waiting_bytes = 0
        self._is_cut = False
        """Did the last write end within a line? The next one must not go on there."""
        self._is_file = False
        self._sock: socket.socket | None = None
        self.dropped = 0
        """Lines that nobody will see; the caller may set it back when it has told so."""
        self.most_line_bytes = 0
        """A longer line would not be written at once: the caller has to shorten it. 0: no limit."""
        self.look_again()

    def look_again(self) -> None:
        """The descriptor may lead elsewhere now."""
        mode = os.fstat(self._fd).st_mode
        self._is_file = stat.S_ISREG(mode)
        self.most_line_bytes = 0 if self._is_file else PIPE_BUF_BYTES
        if self._sock is not None:
            self._sock.close()
        self._sock = socket.socket(fileno=os.dup(self._fd)) if stat.S_ISSOCK(mode) else None
        if self._is_file and self._waiting:
            self._append(b"".join(self._waiting))
            self._waiting.clear()
            self._waiting_bytes = 0

    def write(self, lines: bytes) -> bool:
        """Write these and those that wait, as far as there is room; True when none is left waiting."""
        if self._is_file:
            if lines:
                self._append(lines)
            return True
        for group in group_lines(lines):
            if self._waiting_bytes + len(group) > MOST_WAITING_BYTES:
                self.dropped += group.count(b"\n")
            else:
                self._waiting.append(group)
                self._waiting_bytes += len(group)
        while self._waiting:
            if not self._wait_room(0.0):
                return False
            group = self._waiting.popleft()
            self._waiting_bytes -= len(group)
            rest = group[self._send(group) :]
            if rest:
                self._waiting.appendleft(rest)
                self._waiting_bytes += len(rest)
                return False
        return True

    def list_fds(self) -> list[int]:
        """Descriptors of our own."""
        return [] if self._sock is None else [self._sock.fileno()]

    def forget(self) -> None:
        """In the child of a fork: what waits is the parent's to write."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self.dropped = 0

    def wait_written(self, limit_s: float) -> bool:
        """Write what waits, for so long at most; True when none is left waiting."""
        deadline = monotonic() + limit_s
        while not (is_done := self.write(b"")) and self._wait_room(max(0.0, deadline - monotonic())):
            pass
        return is_done

    def finish(self, limit_s: float) -> None:
        """Write what waits, for so long at most, and drop the rest: the process ends."""
        self.wait_written(limit_s)
        self.dropped += sum(group.count(b"\n") for group in self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _append(self, data: bytes) -> None:
        # What an earlier full disk cut: never go on in the middle of a line.
        before = b"\n" if self._is_cut else b""
        try:
            written = os.write(self._fd, before + data)
        except OSError:  # a full disk, a limit: the log is lost, the service is not
            self.dropped += data.count(b"\n")
            return
        if written:
            whole = data[: written - len(before)]
            self._is_cut = not whole.endswith(b"\n")
            self.dropped += data.count(b"\n") - whole.count(b"\n")

    def _send(self, data: bytes) -> int:
        """How much was taken; 0 when another process was quicker."""
        try:
            if self._sock is not None:
                return self._sock.send(data, socket.MSG_DONTWAIT)
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:  # nobody reads any more
            self.dropped += data.count(b"\n")
            return len(data)

    def _wait_room(self, limit_s: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(limit_s * 1000))
