"""What the real service makes of bytes: the requests that its app hears of, and whether it refused something."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, cast

from prefork.serve.asgi import AsgiService
from prefork.serve.settings import ServeSettings


@dataclass(frozen=True)
class Heard:
    """A request, complete or not, as a parser gave it."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_complete: bool = True


@dataclass
class Verdict:
    """The requests until the end of the bytes, and whether that was a refusal."""

    requests: list[Heard] = field(default_factory=list)
    is_refused: bool = False

    @property
    def complete(self) -> list[Heard]:
        return [request for request in self.requests if request.is_complete]


class Wire:
    """A transport without a socket: what is written is kept."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Asked:
    """The real service behind wires of that kind, on a loop that runs only while it is asked."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.service = AsgiService(self.app, ServeSettings(), self.loop)
        self.verdict = Verdict()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        verdict = self.verdict
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        verdict.requests.append(Heard(scope["method"].encode(), target, tuple(scope["headers"]), body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    def ask(self, *reads: bytes) -> Verdict:
        """What becomes of one connection's bytes; between two reads, of nothing that a request is waiting for."""
        return self.loop.run_until_complete(self._ask(reads))

    async def _ask(self, reads: tuple[bytes, ...]) -> Verdict:
        self.verdict = verdict = Verdict()
        wire, connection = Wire(), self.service.open_connection()
        connection.connection_made(cast(asyncio.Transport, wire))
        for data in reads:
            connection.data_received(data)
            seen = -1
            while seen != len(wire.written):
                seen = len(wire.written)
                for _ in range(4):
                    await asyncio.sleep(0)
        verdict.is_refused = bool(re.search(rb"HTTP/1.1 [45]", wire.written))
        connection.connection_lost(None)
        await asyncio.sleep(0)
        return verdict

    async def close(self) -> None:
        self.service.stepper.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
