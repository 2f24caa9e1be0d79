"""An ASGI app behind HTTP connections.

The service of one worker: it starts and stops the app's lifespan and makes the exchanges. It waits for every call
of the app, also one that goes on after its response, before it is drained.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefork.serve.asgi_exchange import AsgiExchange
from prefork.serve.http import HttpConnection
from prefork.serve.http_service import HttpService
from prefork.serve.lifespan import App, Lifespan
from prefork.serve.response import Heads
from prefork.serve.settings import ServeSettings
from prefork.serve.stepping import make_stepper


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

    async def start_up(self) -> None:
        await self._lifespan.start_up()

    async def shut_down(self) -> None:
        await self._lifespan.shut_down()
        self.stepper.close()

    def make_exchange(self, connection: HttpConnection) -> AsgiExchange:
        return AsgiExchange(connection, self)

    def is_busy(self) -> bool:
        return super().is_busy() or bool(self.stepper.tasks)
