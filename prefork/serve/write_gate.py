"""May more be written? The transport closes the gate when too much is unsent, and opens it again.

Senders only look at `is_shut` unless it is; then each waits with a future of its own, so that one that is cancelled
takes nobody with it.
"""

from __future__ import annotations

import asyncio


class WriteGate:
    """One connection's."""

    __slots__ = ("_loop", "_waiting", "is_shut")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] = []
        self.is_shut = False

    def shut(self) -> None:
        """The transport holds more than its high-water mark."""
        self.is_shut = True

    def open(self) -> None:
        """The transport has room, or will never have any: whoever waits looks again."""
        self.is_shut = False
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait_open(self) -> None:
        """Return when `is_shut` is false."""
        while self.is_shut:
            future = self._loop.create_future()
            self._waiting.append(future)
            await future
