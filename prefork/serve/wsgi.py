"""A WSGI app behind HTTP connections: on the loop's own thread, or on a pool of threads.

A request is complete, its body spooled, before the app hears of it, so a slow uploader holds up nobody. Inline, the
app runs in a lane that one request has at a time; the loop goes on with every other connection whenever the lane's
response waits for its client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from prefork.serve.environ import FieldKeys
from prefork.serve.exchange import Exchange
from prefork.serve.http import HttpConnection
from prefork.serve.http_service import HttpService
from prefork.serve.response import Heads
from prefork.serve.settings import ServeSettings
from prefork.serve.thread_pool import ThreadPool
from prefork.serve.wsgi_inline import InlineExchange
from prefork.serve.wsgi_threaded import ThreadedExchange

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiService(HttpService):
    """Implements `service.Service` for `app(environ, start_response)`."""

    write_high_bytes = 1 << 20
    stall_s = 10.0  # a client that takes nothing holds the lane, or a thread

    def __init__(
        self,
        app: App,
        settings: ServeSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(settings, loop)
        self.app = app
        self.root_path = settings.root_path.encode("utf-8").decode("latin-1")
        self.field_keys = FieldKeys()
        self.heads = Heads()
        self.running = 0
        """Calls of the app in threads that have not ended."""
        self.lane: InlineExchange | None = None
        """Whose call is under way on the loop's thread …"""
        self.waiting: deque[InlineExchange] = deque()
        """… and whose turn comes then."""
        self._pool = ThreadPool(settings.threads) if settings.threads > 1 else None

    async def start_up(self) -> None:
        pass

    async def shut_down(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def make_exchange(self, connection: HttpConnection) -> Exchange:
        if self._pool is not None:
            return ThreadedExchange(connection, self, self._pool)
        return InlineExchange(connection, self)

    def is_busy(self) -> bool:
        return super().is_busy() or self.running > 0 or self.lane is not None or bool(self.waiting)

    def end_call(self) -> None:
        """A call of the app in a thread has ended."""
        self.running -= 1
        if self.awaited:
            self.tell_drained()

    def call_next(self) -> None:
        """The call in the lane has ended: the next one's turn comes with the loop's next round."""
        if self.waiting:
            self.loop.call_soon(self._run_next, context=self.context)
        self.tell_drained()

    def _run_next(self) -> None:
        if self.lane is None and self.waiting:
            self.lane = self.waiting.popleft()
            self.lane.run()
