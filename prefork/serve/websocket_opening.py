"""A client's opening handshake: is it a good one, and which header fields answer it (RFC 6455 §4.2)?

Pure: nothing is sent or read here. A request that names WebSocket without meeting its rules is refused, not served as
plain HTTP: whoever sent it would not understand the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefork.serve.exchange import Exchange
from prefork.serve.reader import Refusal
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

    def accept(self, subprotocol: str | None, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        """The fields of the 101, the app's last. Raises ValueError for a subprotocol that was not offered."""
        answer = [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Accept", self._handshake.accept.encode())]
        if self._handshake.extensions:
            answer.append((b"Sec-WebSocket-Extensions", self._handshake.extensions.encode()))
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
            answer.append((b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1")))
        for name, value in fields:
            lower = name.lower()
            if lower not in _NOT_THE_APPS and not (lower == b"sec-websocket-protocol" and subprotocol):
                answer.append((name, value))
        return answer


def _list_subprotocols(headers: Iterable[tuple[bytes, Any]]) -> tuple[str, ...]:
    return tuple(
        token.strip().decode("latin-1")
        for name, value in headers
        if name == b"sec-websocket-protocol"
        for token in value.split(b",")
        if token.strip()
    )
