"""An ASGI app behind HTTP connections.

The service of one worker: it starts and stops the app's lifespan and makes the exchanges. It waits for every call
of the app, also one that goes on after its response, before it is drained.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from prefork.serve.asgi_exchange import AsgiExchange
from prefork.serve.exchange import Exchange
from prefork.serve.http import HttpConnection
from prefork.serve.http_service import HttpService
from prefork.serve.lifespan import App, Lifespan
from prefork.serve.response import Heads
from prefork.serve.settings import ServeSettings
from prefork.serve.stepping import make_stepper

if TYPE_CHECKING:
    from prefork.serve.websocket_exchange import WebSocketExchange
    from prefork.serve.websocket_group import WebSocketGroup


class AsgiService(HttpService):
    """Implements `service.Service` for `async app(scope, receive, send)`."""

    def __init__(
        self,
        app: App,
        settings: ServeSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(settings, loop)
        self.app = app
        self.root_path = settings.root_path
        self.raw_root_path = settings.root_path.encode("utf-8")
        self.heads = Heads()
        self.stepper = make_stepper(loop, self.tell_drained)
        self._lifespan = Lifespan(app, loop)
        self.state: dict[str, Any] = self._lifespan.state
        self._websockets: WebSocketGroup | None = None

    async def start_up(self) -> None:
        await self._lifespan.start_up()

    async def shut_down(self) -> None:
        await self._lifespan.shut_down()
        self.stepper.close()

    def make_exchange(self, connection: HttpConnection) -> AsgiExchange:
        return AsgiExchange(connection, self)

    def grant_upgrade(self, connection: HttpConnection, asked: Exchange) -> WebSocketExchange | None:
        if not isinstance(asked, AsgiExchange) or asked.version != "1.1":
            return None  # one that is refused is not ours
        if not _names_websocket(asked.headers):
            return None
        from prefork.serve.websocket_exchange import WebSocketExchange  # noqa: PLC0415 - see websocket_wire

        granted = WebSocketExchange(connection, self, asked)
        asked.dismantle()
        return granted

    def open_group(self) -> WebSocketGroup:
        """The group of all WebSockets, made for the first one."""
        if self._websockets is None:
            from prefork.serve.websocket_group import WebSocketGroup  # noqa: PLC0415 - see websocket_wire

            self._websockets = WebSocketGroup(self)
        return self._websockets

    def has_open(self) -> bool:
        return super().has_open() or (self._websockets is not None and bool(self._websockets.members))

    def look(self, now: float) -> None:
        super().look(now)
        if self._websockets is not None:
            self._websockets.look(now)

    def drain(self) -> None:
        has_begun = self.draining
        super().drain()
        if self._websockets is not None and not has_begun:
            self._websockets.drain()

    def cut(self) -> int:
        if self._websockets is not None:
            self._websockets.cut()
        return super().cut()

    def is_busy(self) -> bool:
        return super().is_busy() or bool(self.stepper.tasks)


def _names_websocket(headers: list[tuple[bytes, bytes]]) -> bool:
    """Does a request to upgrade ask for WebSocket, alone or among others?"""
    return any(
        token.strip().lower() == b"websocket"
        for name, value in headers
        if name == b"upgrade"
        for token in value.split(b",")
    )
