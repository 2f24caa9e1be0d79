"""What the app says and hears through `prefork`, once it runs in a worker: the outlet that is plugged into `inside`.

The app may speak from any thread, the channel belongs to the loop's: words wait in an outbox, bounded, and the loop
sends them. It never blocks, neither for a master that reads slowly nor for an app that says too much.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from prefork.config.workers import MAX_WORKERS
from prefork.inside import app_side
from prefork.ipc import messages as say
from prefork.ipc.codec import encode
from prefork.ipc.foreign import fit
from prefork.system import clock, processes
from prefork.system.channel import Channel

if TYPE_CHECKING:
    from prefork.inside import MessageHandler

logger = logging.getLogger("prefork.worker")

OUTBOX_BYTES = 256 * 1024
"""How much may wait to be sent before `send` says no."""
MESSAGE_BYTES = 64 * 1024
MESSAGE_DEPTH = 500
"""Deeper ones would exceed the recursion limit of whoever reads them."""
REASON_CHARS = 80
BATCH_BYTES = 16 * 1024
CALLS_MAX = 1000
"""So many async handlers may be under way; what comes then is not delivered."""
COMPLAIN_EVERY_S = 10.0


class Talker:
    """Implements `inside.Outlet`. `hear` and `announce` are called on the loop's thread, as everything private."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel, who: dict[str, object]) -> None:
        self._loop = loop
        self._channel = channel
        self._who = who
        self._pid = processes.get_pid()
        self._ready = asyncio.Event()
        self._is_announced = False
        self._retiring: str | None = None
        # Reentrant: a signal handler of the app's may send while its own thread sends.
        self._lock = threading.RLock()
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._is_woken = False
        self._is_watching = False
        self._calls: set[asyncio.Task[None]] = set()
        self._complained_at = -COMPLAIN_EVERY_S
        self._unsaid = 0

    # The app's, from any thread.

    def tell_ready(self) -> bool:
        return self._call(self._ready.set)

    def retire(self, reason: str) -> bool:
        return self._call(lambda: self._ask_to_retire(fit(str(reason)[:REASON_CHARS])))

    def send(self, message: object, to: int | None) -> bool:
        line = encode_post(message, to)
        if processes.get_pid() != self._pid:  # a child that the app forked: the channel is not its own
            return False
        with self._lock:
            if self._outbox_bytes + len(line) > OUTBOX_BYTES:
                return False
            self._outbox.append(line)
            self._outbox_bytes += len(line)
            if self._is_woken:
                return True
            self._is_woken = True
        return self._call(self._send_waiting)

    # The worker's, on the loop's thread.

    async def wait_ready(self) -> None:
        """Return when the app has said that it is ready."""
        await self._ready.wait()

    def announce(self, word: say.Ready) -> None:
        """The worker is ready; if the app already wants it replaced, that is said now."""
        self._channel.send(encode(word))
        self._is_announced = True
        if self._retiring is not None:
            self._channel.send(encode(say.Retire(self._retiring)))

    def hear(self, delivery: say.Deliver) -> None:
        """Give a message to the app."""
        for listener in tuple(app_side.listeners):
            if len(self._calls) >= CALLS_MAX:
                self._complain("message not delivered: %d calls of on_message are under way", CALLS_MAX)
                return
            self._deliver(listener, delivery)

    def flush(self) -> None:
        """Send what the master did not take so far."""
        self._channel.flush()
        self._send_waiting()

    def _deliver(self, listener: MessageHandler, delivery: say.Deliver) -> None:
        try:
            # Decoded for each: what one does with it, the next does not see.
            result = listener(msgspec.json.decode(delivery.data), delivery.sender)
        except BaseException:  # noqa: BLE001  # SystemExit too: a message must never end the worker
            self._complain("on_message raised", exc_info=True)
            return
        if inspect.isawaitable(result):
            task = self._loop.create_task(self._finish(result))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _finish(self, result: Awaitable[object]) -> None:
        try:
            await result
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException:  # noqa: BLE001  # as above
            self._complain("on_message raised", exc_info=True)

    def _complain(self, text: str, *arguments: object, exc_info: bool = False) -> None:
        now = clock.monotonic()
        if now < self._complained_at + COMPLAIN_EVERY_S:
            self._unsaid += 1
            return
        extra = self._who | ({"unsaid": self._unsaid} if self._unsaid else {})
        self._complained_at, self._unsaid = now, 0
        logger.error(text, *arguments, exc_info=exc_info, extra=extra)

    def _ask_to_retire(self, reason: str) -> None:
        if self._retiring is not None:
            return
        self._retiring = reason
        if self._is_announced:
            self._channel.send(encode(say.Retire(reason)))

    def _call(self, function: Callable[[], object]) -> bool:
        if processes.get_pid() != self._pid:
            return False
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: the worker ends
            return False
        return True

    def _send_waiting(self) -> None:
        channel = self._channel
        self._is_woken = False  # first: who adds from now on wakes us again
        while self._outbox and not channel.has_unsent():
            lines, size = [], 0
            with self._lock:
                while self._outbox and size < BATCH_BYTES:
                    lines.append(line := self._outbox.popleft())
                    size += len(line)
                self._outbox_bytes -= size
            channel.send(b"".join(lines))
        if channel.has_unsent() != self._is_watching:
            self._is_watching = not self._is_watching
            if self._is_watching:
                self._loop.add_writer(channel.fileno(), self.flush)
            else:
                self._loop.remove_writer(channel.fileno())


def encode_post(message: object, to: int | None) -> bytes:
    """The line that posts `message`. Raises TypeError for what is not JSON, ValueError for what is too much of it."""
    if to is not None:
        if isinstance(to, bool) or not isinstance(to, int):
            raise TypeError(f"a message goes to a slot (0, 1 …), or to None for all; not to {to!r}")
        if not 0 <= to < MAX_WORKERS:
            raise ValueError(f"there is no slot {to}")
        to = int(to)
    try:
        data = msgspec.json.encode(message)
    except RecursionError:
        raise ValueError("the message contains itself, or is nested too deep") from None
    if len(data) > MESSAGE_BYTES:
        raise ValueError(f"the message is {len(data)} bytes of JSON; at most {MESSAGE_BYTES} are sent")
    if data.count(b"[") + data.count(b"{") > MESSAGE_DEPTH and _measure_depth(data) > MESSAGE_DEPTH:
        raise ValueError(f"the message is nested deeper than {MESSAGE_DEPTH}")
    return encode(say.Post(to, msgspec.Raw(data)))


def _measure_depth(data: bytes) -> int:
    depth = deepest = 0
    for mark in re.findall(rb'"(?:[^"\\]|\\.)*"|[][{}]', data):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(mark, 0)
        deepest = max(deepest, depth)
    return deepest
