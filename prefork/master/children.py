"""What the master holds of each child: its pid, the descriptor that means it, its channel. Not its state: that is the
Arbiter's.
"""

from __future__ import annotations

import os
from contextlib import suppress

from prefork.errors import ProtocolError
from prefork.ipc import messages as say
from prefork.ipc.codec import read_from_worker, read_from_zygote
from prefork.system.channel import Channel

STACKS_BYTES = 65536
MESSAGES_MAX = 1000
"""An honest worker says a handful of things in its life; past this it is flooding us."""


class ZygoteHandle:
    """One zygote process."""

    __slots__ = ("channel", "gen", "pid", "reader")

    def __init__(self, gen: int, pid: int, channel: Channel) -> None:
        self.gen = gen
        self.pid = pid
        self.channel = channel
        self.reader = read_from_zygote()


class WorkerHandle:
    """One worker process, from the moment its fork is asked for."""

    __slots__ = (
        "channel", "gen", "heard", "is_reaped", "pid", "pidfd", "reader", "row", "serial", "slot", "stacks_fd"
    )  # fmt: skip

    def __init__(self, serial: int, slot: int, gen: int, row: int, channel: Channel) -> None:
        self.serial = serial
        self.slot = slot
        self.gen = gen
        self.row = row
        self.channel = channel
        self.reader = read_from_worker()
        self.pid = 0
        self.pidfd: int | None = None
        self.stacks_fd: int | None = None
        self.heard = 0
        self.is_reaped = False

    def hear(self, data: bytes) -> list[say.WorkerToMaster]:
        """The messages in `data`. Raises `ProtocolError` for what is none, or too many."""
        messages = self.reader.feed(data)
        self.heard += len(messages)
        if self.heard > MESSAGES_MAX:
            raise ProtocolError(f"it sent more than {MESSAGES_MAX} messages")
        return messages

    def take_stacks(self) -> str:
        """What was dumped so far; empty if nothing was, as for a stopped process. Never blocks."""
        if self.stacks_fd is None:
            return ""
        try:
            os.set_blocking(self.stacks_fd, False)
            return os.read(self.stacks_fd, STACKS_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Give back every descriptor."""
        self.channel.close()
        for fd in (self.pidfd, self.stacks_fd):
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        self.pidfd = self.stacks_fd = None
