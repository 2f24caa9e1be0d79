"""ASGI's HTTP extensions: a file by its path, trailers, early hints. What rare messages of an app do.

They are offered in every scope; what HTTP/1.0 or the response's framing has no room for is dropped, for the client
loses nothing that it could have understood. See https://asgi.readthedocs.io/en/latest/extensions.html.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from prefork.serve.exchange import Phase
from prefork.serve.extra_fields import render_early_hints, render_trailers
from prefork.serve.file_body import FileBody, FilePart, open_part, read_part

if TYPE_CHECKING:
    from prefork.serve.asgi_exchange import AsgiExchange

EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.pathsend": {},
    "http.response.trailers": {},
    "http.response.early_hint": {},
}
"""What a scope says of them."""

_AWAITED, _HEAD, _BODY, _DONE = Phase.AWAITED, Phase.HEAD, Phase.BODY, Phase.DONE


class TrailerSection:
    """The trailers of one response, from their announcement to the last of them."""

    __slots__ = ("_fields", "_is_due")

    def __init__(self) -> None:
        self._fields = b""
        self._is_due = False

    def end_body(self, exchange: AsgiExchange) -> bool:
        """The body ends here; return whether the response does, too, because its framing has no trailers."""
        if self._is_due:
            raise RuntimeError("unexpected ASGI message 'http.response.body': only trailers are due")
        self._is_due = True
        return not exchange.may_be_chunked()

    def add(self, exchange: AsgiExchange, message: MutableMapping[str, Any]) -> None:
        """Take more of them, and end the response with the last."""
        if not self._is_due and exchange.phase is not _DONE:
            raise RuntimeError("unexpected ASGI message 'http.response.trailers': the body has not ended")
        self._fields += render_trailers(message.get("headers", ()))
        if not message.get("more_trailers", False) and exchange.phase is not _DONE:
            exchange.end_chunks(self._fields)
            exchange.connection.finish(exchange)


async def send_extension(exchange: AsgiExchange, kind: str, message: MutableMapping[str, Any]) -> None:
    """Take a message that is neither a start nor a body. Raises as `AsgiExchange.send` does."""
    if kind == "http.response.pathsend" and exchange.phase in (_HEAD, _BODY):
        await _send_path(exchange, message["path"])
    elif kind == "http.response.trailers" and exchange.trailers is not None:
        exchange.trailers.add(exchange, message)
    elif kind == "http.response.early_hint" and exchange.phase is _AWAITED:
        hints = render_early_hints(message.get("links", ()))
        if hints and exchange.version == "1.1":
            exchange.emit(hints)
            await exchange.wait_writable()
    else:
        raise RuntimeError(f"unexpected ASGI message {kind!r}: the response is {exchange.phase.name.lower()}")


def check_body(body: Any) -> bytes:
    """What is no `bytes` may still be bytes. Raises TypeError, in words about the app."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise TypeError(f"an ASGI body is bytes, not {type(body).__name__}")


async def _send_path(exchange: AsgiExchange, path: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f"http.response.pathsend needs an absolute path, not {path!r}")
    part = open_part(path)
    try:
        size = exchange.fits_small(part.size_bytes)
        if size >= 0:
            exchange.put(read_part(part, size), last=True)
        else:
            await _send_part(exchange, part)
    except BaseException:
        if exchange.phase is _BODY:
            exchange.connection.cut()  # what is on the wire cannot be made true any more
        raise
    finally:
        os.close(part.fd)
    exchange.connection.finish(exchange)


async def _send_part(exchange: AsgiExchange, part: FilePart) -> None:
    connection = exchange.connection
    size = exchange.begin_file(part.size_bytes)
    body = FileBody(connection.transport, part, size, connection.service.write_high_bytes)
    while not body.send_some():
        if connection.gate.is_shut:
            await exchange.wait_writable()
        else:
            await asyncio.sleep(0)
            if exchange.gone:
                raise exchange.client_gone()
    exchange.end_file(size)
