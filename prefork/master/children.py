"""What the master holds of each child: its pid, the descriptor that means it, its channel. Not its state: that is the
Arbiter's.

All channels hang in the master's one selector; the data of each key is the function that turns its bytes into events.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Iterator
from contextlib import suppress

from prefork.core import events as on
from prefork.errors import ProtocolError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_worker, read_from_zygote
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


Read = Callable[[], Iterator[on.AnyEvent]]


class Children:
    """Every zygote and worker there is, by generation and by serial, and their places in the selector."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.zygotes: dict[int, ZygoteHandle] = {}
        self.workers: dict[int, WorkerHandle] = {}
        self._selector = selector

    def all(self) -> list[ZygoteHandle | WorkerHandle]:
        """Whoever can be told something."""
        return [*self.zygotes.values(), *self.workers.values()]

    def add_zygote(self, zygote: ZygoteHandle, read: Read) -> None:
        """Listen to it from now on."""
        self.zygotes[zygote.gen] = zygote
        self._selector.register(zygote.channel, selectors.EVENT_READ, read)

    def add_worker(self, worker: WorkerHandle, read: Read) -> None:
        """Listen to it from now on."""
        self.workers[worker.serial] = worker
        self._selector.register(worker.channel, selectors.EVENT_READ, read)

    def send(self, child: ZygoteHandle | WorkerHandle, message: say.Message, fd: int | None = None) -> None:
        """Never blocks: what the child does not take now waits in its channel."""
        child.channel.send(encode(message), fd)
        if child.channel.has_unsent():
            self._watch(child.channel, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def flush(self, channel: object) -> None:
        """The selector says that this channel takes more."""
        for child in self.all():
            if child.channel is channel:
                child.channel.flush()
                if not child.channel.has_unsent():
                    self._watch(child.channel, selectors.EVENT_READ)

    def stop_reading(self, child: ZygoteHandle | WorkerHandle) -> None:
        """What it says is of no interest any more. Twice is fine."""
        if not child.channel.is_closed and child.channel in self._selector.get_map():
            self._selector.unregister(child.channel)

    def drop_zygote(self, zygote: ZygoteHandle) -> None:
        """It is gone."""
        self.stop_reading(zygote)
        zygote.channel.close()
        if self.zygotes.get(zygote.gen) is zygote:
            del self.zygotes[zygote.gen]

    def drop_worker(self, serial: int) -> None:
        """It is gone, or its fork never left the master."""
        if (worker := self.workers.pop(serial, None)) is not None:
            self.stop_reading(worker)
            worker.close()

    def _watch(self, channel: object, mask: int) -> None:
        key = self._selector.get_map().get(channel)  # type: ignore[call-overload] # typeshed wants a FileDescriptor
        if key is not None:
            self._selector.modify(key.fileobj, mask, key.data)
