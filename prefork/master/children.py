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
from prefork.system import processes, signals
from prefork.system.channel import Channel

STACKS_BYTES = 65536
MESSAGES_MAX = 1000
"""An honest worker says a handful of things in its life; past this it is flooding us. What its app posts to others does
not count: that is slowed down instead.
"""


RUNNING = ("R", "")
"""States of a process, see `read_state`."""


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
        "_stacks", "_stacks_dropped", "asked_by_arbiter", "channel", "gen", "heard", "is_reaped", "pid", "pidfd",
        "reader", "row", "serial", "slot", "stacks_fd"
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
        self.asked_by_arbiter = 0
        """Where the dump begins that the Arbiter asked for last."""
        self._stacks = ""
        self._stacks_dropped = 0
        """So many characters came before those that are kept."""
        self.heard = 0
        self.is_reaped = False

    def hear(self, data: bytes) -> list[say.WorkerToMaster]:
        """The messages in `data`. Raises `ProtocolError` for what is none, or too many."""
        messages = self.reader.feed(data)
        self.heard += sum(not isinstance(message, say.Post) for message in messages)
        if self.heard > MESSAGES_MAX:
            raise ProtocolError(f"it sent more than {MESSAGES_MAX} messages")
        return messages

    def ask_stacks(self) -> int:
        """Have it dump the stacks of its threads; returns where in all that it has dumped these will begin. So the log
        and an operator can ask at the same time, and neither takes from the other.
        """
        self._fetch_stacks()
        if self.pid and self.stacks_fd is not None:
            processes.send_signal(self.pid, self.pidfd, signals.DUMP_STACKS)
        return self._stacks_dropped + len(self._stacks)

    def read_stacks(self, since: int) -> str:
        """What was dumped from there on; empty if nothing was, as for a stopped process. Never blocks."""
        self._fetch_stacks()
        return self._stacks[max(0, since - self._stacks_dropped) :]

    def _fetch_stacks(self) -> None:
        if self.stacks_fd is None:
            return
        try:
            os.set_blocking(self.stacks_fd, False)
            found = self._stacks + os.read(self.stacks_fd, STACKS_BYTES).decode("utf-8", "replace")
        except OSError:
            return
        self._stacks = found[-STACKS_BYTES:]
        self._stacks_dropped += len(found) - len(self._stacks)

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
        self._reads: dict[Channel, Read] = {}
        """Whom we listen to."""
        self._held: set[Channel] = set()
        """Whom we do not read for now."""

    def all(self) -> list[ZygoteHandle | WorkerHandle]:
        """Whoever can be told something."""
        return [*self.zygotes.values(), *self.workers.values()]

    def add_zygote(self, zygote: ZygoteHandle, read: Read) -> None:
        """Listen to it from now on."""
        self.zygotes[zygote.gen] = zygote
        self._reads[zygote.channel] = read
        self._listen(zygote.channel)

    def add_worker(self, worker: WorkerHandle, read: Read) -> None:
        """Listen to it once it is released: a worker that boots faster than its zygote tells of the fork must not be
        heard before its pid is known.
        """
        self.workers[worker.serial] = worker
        self._reads[worker.channel] = read
        self.hold(worker)

    def send(self, child: ZygoteHandle | WorkerHandle, message: say.Message, fd: int | None = None) -> None:
        """Never blocks: what the child does not take now waits in its channel."""
        self.send_lines(child, encode(message), fd)

    def send_lines(self, child: ZygoteHandle | WorkerHandle, lines: bytes, fd: int | None = None) -> None:
        """The same for messages that are bytes already."""
        child.channel.send(lines, fd)
        if child.channel.has_unsent():
            self._listen(child.channel)

    def flush(self, channel: object) -> None:
        """The selector says that this channel takes more."""
        for child in self.all():
            if child.channel is channel:
                child.channel.flush()
                if not child.channel.has_unsent():
                    self._listen(child.channel)

    def hold(self, worker: WorkerHandle) -> None:
        """Do not read it for now: what it says waits in the kernel, then in the worker."""
        self._held.add(worker.channel)
        self._listen(worker.channel)

    def release(self, worker: WorkerHandle) -> None:
        """Read it again."""
        self._held.discard(worker.channel)
        self._listen(worker.channel)

    def stop_reading(self, child: ZygoteHandle | WorkerHandle) -> None:
        """What it says is of no interest any more. Twice is fine."""
        self._reads.pop(child.channel, None)
        self._held.discard(child.channel)
        self._listen(child.channel)

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

    def is_running(self, serial: int) -> bool:
        """Does this worker run, or wait for a processor? Also if nobody knows: its fork was not confirmed, or the
        kernel does not say.
        """
        worker = self.workers.get(serial)
        return worker is not None and (not worker.pid or processes.read_state(worker.pid) in RUNNING)

    def _listen(self, channel: Channel) -> None:
        """Have the selector watch for what is of interest now."""
        if channel.is_closed:
            return
        mask = 0
        if (read := self._reads.get(channel)) is not None:
            mask = (channel not in self._held and selectors.EVENT_READ) | (
                channel.has_unsent() and selectors.EVENT_WRITE
            )
        is_watched = channel in self._selector.get_map()
        if mask and is_watched:
            self._selector.modify(channel, mask, read)
        elif mask:
            self._selector.register(channel, mask, read)
        elif is_watched:
            self._selector.unregister(channel)
