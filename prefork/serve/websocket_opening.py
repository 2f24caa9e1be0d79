"""A client's opening handshake: is it a good one, and which header fields answer it (RFC 6455 §4.2)?

Pure: nothing is sent or read here. A request that names WebSocket without meeting its rules is refused, not served as
plain HTTP: whoever sent it would not understand the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefork.serve.exchange import Exchange
from prefork.serve.refusal import Refusal
from prefork.serve.settings import ServeSettings
from prefork.serve.websocket_wire import Wire

Fields = list[tuple[bytes, bytes]]

VERSION = b"13"
# The handshake's own, or about a body that a 101 has not: never the app's to say.
_NOT_THE_APPS = frozenset(
    (
        b"connection",
        b"content-length",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"transfer-encoding",
        b"upgrade",
    )
)


class Opening:
    """One handshake, checked."""

    __slots__ = ("_handshake", "has_body", "refusal", "subprotocols", "wire")

    def __init__(self, asked: Exchange, settings: ServeSettings) -> None:
        self.has_body = asked.body_length_bytes != 0
        self.wire = Wire(settings.ws_max_size_bytes, deflates=settings.ws_per_message_deflate)
        self._handshake = self.wire.shake_hands(asked.headers)
        self.subprotocols = _list_subprotocols(asked.headers)
        """Those that the client offers, in its order of preference."""
        self.refusal = self._find_refusal(asked)
        """Why it is refused, and with which status; None if it is not."""

    def _find_refusal(self, asked: Exchange) -> Refusal | None:
        if asked.method != "GET":
            return Refusal(400, "A WebSocket is opened with GET")
        if self.has_body:
            return Refusal(400, "A WebSocket handshake has no body")
        versions = [value for name, value in asked.headers if name == b"sec-websocket-version"]
        if versions != [VERSION]:
            return Refusal(426, "This server speaks version 13 of WebSocket")
        if self._handshake.refusal:
            return Refusal(400, self._handshake.refusal)
        return None

    def list_fields(self) -> Fields:
        """What a refusal says beside its reason (RFC 6455 §4.4, RFC 9110 §15.5.22)."""
        fields = [(b"Content-Type", b"text/plain; charset=utf-8")]
        if self.refusal is not None and self.refusal.status == 426:
            fields += [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", VERSION)]
        return fields

    def render_answer(self, subprotocol: str | None) -> bytes:
        """Our own lines of the 101. Raises ValueError for a subprotocol that was not offered."""
        lines = (
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {self._handshake.accept}\r\n"
        )
        if self._handshake.extensions:
            lines += f"Sec-WebSocket-Extensions: {self._handshake.extensions}\r\n"
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
            lines += f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
        return lines.encode("latin-1")


def select_fields(fields: Iterable[tuple[bytes, bytes]], subprotocol: str | None) -> Fields:
    """Those that the app may add to the 101."""
    return [
        (name, value)
        for name, value in fields
        if (lower := name.lower()) not in _NOT_THE_APPS
        and not (subprotocol is not None and lower == b"sec-websocket-protocol")
    ]


def _list_subprotocols(headers: Iterable[tuple[bytes, Any]]) -> tuple[str, ...]:
    return tuple(
        token.strip().decode("latin-1")
        for name, value in headers
        if name == b"sec-websocket-protocol"
        for token in value.split(b",")
        if token.strip()
    )
