"""WebSocket apps for the tests, and one that notes what it was told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Echo:
    """Accepts and echoes, and notes every message and how each socket ended."""

    def __init__(self, **accept: Any) -> None:
        self.accept = accept
        self.scopes: list[Message] = []
        self.received: list[str | bytes] = []
        self.ends: list[tuple[int, str]] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"plain"})
            return
        assert scope["type"] == "websocket", scope["type"]
        self.scopes.append(scope)
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", **self.accept})
        while (message := await receive())["type"] == "websocket.receive":
            kind = "text" if message.get("text") is not None else "bytes"
            self.received.append(message[kind])
            with suppress(OSError):  # it has closed behind this message; receive will say so
                await send({"type": "websocket.send", kind: message[kind]})
        assert message.keys() == {"type", "code", "reason"}
        assert (type(message["code"]), type(message["reason"])) == (int, str)
        self.ends.append((message["code"], message["reason"]))


def websocket(handler: Callable[[Message, Receive, Send], Awaitable[None]]) -> Any:
    """An app of one handler, which has not accepted yet."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        assert await receive() == {"type": "websocket.connect"}
        await handler(scope, receive, send)

    return app


async def accept(send: Send, **more: Any) -> None:
    await send({"type": "websocket.accept", **more})
