"""What the apps in workers say to each other: taken from one, given to the others, never looked into.

A worker that does not read costs what waits for it, up to a bound; one that says too much is not read for a while, so
that in the end its own `send` says no. Neither holds up the master, nor ends an app that is merely busy.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from prefork.ipc import messages as say
from prefork.ipc.codec import encode
from prefork.master.children import Children, WorkerHandle
from prefork.system import clock

logger = logging.getLogger("prefork.master")

WINDOW_S = 0.1
WINDOW_MESSAGES = 200
"""So many messages of one worker are passed on in a window."""
WINDOW_BYTES = 2 * 1024 * 1024
WINDOW_DELIVERIES = 20_000
"""So many deliveries in a window, each ready worker having the same share: a message to all is one for each of them."""
QUEUE_BYTES = 256 * 1024
"""How much may wait for one worker before more is dropped; far below what makes its channel count as dead."""
COMPLAIN_EVERY_S = 10.0


class Sender:
    """What one worker may still say in its window, and what it said beyond that."""

    __slots__ = ("bytes_left", "deliveries_left", "held", "messages_left", "window_ends", "worker")

    def __init__(self, worker: WorkerHandle) -> None:
        self.worker = worker
        self.window_ends = 0.0
        self.messages_left = self.bytes_left = self.deliveries_left = 0
        self.held: deque[say.Post] = deque()

    def has_left(self) -> bool:
        """May it say something more?"""
        return self.messages_left > 0 and self.bytes_left > 0 and self.deliveries_left > 0


class Posting:
    """One master's post. `is_ready` tells from a worker's serial whether it gets any. Everything here is bounded by
    the number of workers, for each is read a little at a time.
    """

    def __init__(
        self,
        children: Children,
        is_ready: Callable[[int], bool],
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._children = children
        self._is_ready = is_ready
        self._now = now
        self._senders: dict[int, Sender] = {}
        self._outgoing: dict[int, list[bytes]] = {}
        """What this turn of the loop brought for each worker: one system call for all of it."""
        self._outgoing_bytes: dict[int, int] = {}
        self._unread = 0
        self._absent = 0
        self._complain_at = 0.0

    def take(self, worker: WorkerHandle, post: say.Post) -> None:
        """A worker's app posts: pass it on with the next `deliver`, or later if it has said much."""
        sender = self._senders.get(worker.serial)
        if sender is None:
            sender = self._senders[worker.serial] = Sender(worker)
        if self._now() >= sender.window_ends and not sender.held:
            self._open_window(sender)
        if sender.held or not sender.has_left():
            if not sender.held:
                self._children.hold(worker)
            sender.held.append(post)
        else:
            self._route(sender, post)

    def next_deadline(self) -> float | None:
        """When `deliver` has something to do though nothing came; None if it has not."""
        deadlines = [sender.window_ends for sender in self._senders.values() if sender.held]
        if self._unread or self._absent:
            deadlines.append(self._complain_at)
        return min(deadlines, default=None)

    def deliver(self) -> None:
        """At the end of each turn of the loop: give out what came, and go on with those who have a new window."""
        for sender in tuple(self._senders.values()):
            if sender.held:
                self._go_on(sender)
            elif sender.worker.serial not in self._children.workers:
                del self._senders[sender.worker.serial]
        outgoing, self._outgoing, self._outgoing_bytes = self._outgoing, {}, {}
        for serial, lines in outgoing.items():
            if (worker := self._children.workers.get(serial)) is not None:
                self._children.send_lines(worker, b"".join(lines))
        if self._unread or self._absent:
            self._complain()

    def _open_window(self, sender: Sender) -> None:
        sender.window_ends = self._now() + WINDOW_S
        sender.messages_left = WINDOW_MESSAGES
        sender.bytes_left = WINDOW_BYTES
        sender.deliveries_left = WINDOW_DELIVERIES // max(1, len(self._children.workers))

    def _go_on(self, sender: Sender) -> None:
        if self._now() < sender.window_ends:
            return
        self._open_window(sender)
        while sender.held and sender.has_left():
            self._route(sender, sender.held.popleft())
        if not sender.held:
            self._children.release(sender.worker)

    def _route(self, sender: Sender, post: say.Post) -> None:
        # Encoded once, whoever gets it. Its data stays the bytes that they were.
        line = encode(say.Deliver(sender.worker.slot, post.data))
        sender.messages_left -= 1
        sender.bytes_left -= len(line)
        is_absent = True
        for worker in self._children.workers.values():
            if (
                (post.to is None or worker.slot == post.to)
                and worker is not sender.worker
                and self._is_ready(worker.serial)
            ):
                is_absent = False
                sender.deliveries_left -= 1
                self._put(worker, line)
        self._absent += is_absent and post.to is not None

    def _put(self, worker: WorkerHandle, line: bytes) -> None:
        size = self._outgoing_bytes.get(worker.serial, 0) + len(line)
        if worker.channel.unsent_bytes + size > QUEUE_BYTES:
            self._unread += 1
            return
        self._outgoing_bytes[worker.serial] = size
        self._outgoing.setdefault(worker.serial, []).append(line)

    def _complain(self) -> None:
        if self._now() < self._complain_at:
            return
        self._complain_at = self._now() + COMPLAIN_EVERY_S
        logger.warning("messages dropped", extra={"unread": self._unread, "absent": self._absent})
        self._unread = self._absent = 0
