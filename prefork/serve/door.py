"""What a connection passes before its app's protocol begins: a proxy's header, then a TLS handshake.

A door is the protocol of an accepted socket until both are behind it; then it connects the app's own protocol and is
gone, so that afterwards nothing costs anything. It holds no timers: the entrance looks at it. It believes nobody by
itself: the entrance says whose header is read.

Whoever speaks plain HTTP to a TLS port is told so in plain HTTP. Everything else that is neither is closed.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from typing import TYPE_CHECKING, cast

from prefork.serve.introduced import IntroducedTransport, find_feed, name_peer
from prefork.serve.proxy_protocol import Header, MalformedHeaderError, read_header
from prefork.serve.tls import Session, TlsTransport

if TYPE_CHECKING:
    from prefork.serve.entrance import Entrance

HANDSHAKE = 0x16
"""The first byte of TLS: a record that belongs to a handshake (RFC 8446 §5.1)."""

_SAYS = b"400 Bad Request: this port speaks HTTPS, and this was plain HTTP. Use https:// instead.\n"
SPEAKS_HTTPS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_SAYS), _SAYS)
)


class Stage(enum.Enum):
    """What a door waits for."""

    HEADER = enum.auto()
    """The rest of a proxy's header."""
    OPENING = enum.auto()
    """The client's first byte."""
    HANDSHAKE = enum.auto()
    """The client's part of a handshake that has begun."""
    LEAVING = enum.auto()
    """The client's end of file, for it was turned away."""


class Door(asyncio.Protocol):
    """One connection's."""

    __slots__ = ("_begun", "_entrance", "_introduced", "_session", "is_silent", "since", "stage", "transport")

    transport: asyncio.Transport
    _session: Session

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._begun = b""
        self._introduced: Header | None = None
        self.stage = Stage.OPENING
        self.since = 0.0
        """Since when it waits for what it waits for, by the loop's clock; the entrance judges it."""
        self.is_silent = True
        """Nothing of what it waits for has come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        entrance = self._entrance
        if entrance.expects_header(self.transport):
            self.stage = Stage.HEADER
        elif entrance.tls is None:
            self._enter(b"")
            return
        entrance.let_wait(self)

    def data_received(self, data: bytes) -> None:
        if self.stage is Stage.HEADER:
            rest = self._take_header(data)
            if not rest:
                return
            data = rest
        if self.stage is Stage.OPENING:
            self._open(data)
        elif self.stage is Stage.HANDSHAKE:
            self._shake_hands(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the end is the end
        self._entrance.forget(self)

    def _mark(self, *, is_silent: bool) -> None:
        self.is_silent = is_silent
        self.since = self._entrance.now()

    # The proxy's header.

    def _take_header(self, data: bytes) -> bytes:
        """What follows the header, once it is complete; it was dealt with, or it is the beginning of TLS."""
        if self.is_silent:
            self._mark(is_silent=False)
        self._begun += data
        try:
            header = read_header(self._begun)
        except MalformedHeaderError as error:
            self._entrance.note_headerless(self.transport, str(error), self._begun)
            self.transport.close()
            return b""
        if header is None:
            return b""
        rest, self._begun = self._begun[header.size_bytes :], b""
        if header.is_spoken_for:
            self._introduced = header
        if self._entrance.tls is None:
            self._enter(rest)
            return b""
        self.stage = Stage.OPENING
        self._mark(is_silent=True)
        return rest

    def _enter(self, rest: bytes) -> None:
        """No TLS: the app's protocol takes the door's place."""
        transport = self.transport
        protocol = self._entrance.let_in(self)
        transport.set_protocol(protocol)
        if self._introduced is not None:
            transport = IntroducedTransport(transport, name_peer(self._introduced.client))
        protocol.connection_made(transport)
        if rest and not transport.is_closing():
            find_feed(transport.get_protocol())(rest)

    # TLS.

    def _open(self, data: bytes) -> None:
        entrance = self._entrance
        if data[0] == HANDSHAKE and entrance.tls is not None:
            self._mark(is_silent=False)
            self.stage = Stage.HANDSHAKE
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = entrance.tls.context.wrap_bio(incoming, outgoing, server_side=True)
            self._session = Session(session, incoming, outgoing)
            self._shake_hands(data)
            return
        entrance.note(self.transport, "no TLS", data)
        if entrance.speaks_http and data[:1].isalpha() and data[:1].isupper():
            self.transport.write(SPEAKS_HTTPS)
            self._turn_away()
        else:
            self.transport.close()

    def _shake_hands(self, data: bytes) -> None:
        session, incoming, outgoing = self._session
        incoming.write(data)
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            is_done = False
        except ssl.SSLError as error:
            reason = getattr(error, "reason", None) or error
            self._entrance.note(self.transport, f"TLS handshake: {reason}", b"")
            self._flush(outgoing)  # the alert that says why
            self._turn_away()
            return
        else:
            is_done = True
        self._flush(outgoing)
        if is_done:
            self._enter_encrypted()

    def _flush(self, outgoing: ssl.MemoryBIO) -> None:
        if outgoing.pending:
            self.transport.write(outgoing.read())

    def _enter_encrypted(self) -> None:
        tls = self._entrance.tls
        assert tls is not None  # noqa: S101  # there was a handshake
        session = self._session.ssl
        facts: dict[str, object] = {
            "sslcontext": tls.context,
            "ssl_object": session,
            "cipher": session.cipher(),
            "compression": None,
            "peercert": session.getpeercert(),
            "tls": tls,
        }
        if self._introduced is not None:
            facts["peername"] = name_peer(self._introduced.client)
        encrypted = TlsTransport(self.transport, self._session, facts)
        protocol = self._entrance.let_in(self)
        self.transport.set_protocol(encrypted)
        encrypted.begin(protocol)

    def _turn_away(self) -> None:
        """Close without a reset that overtakes what we said (RFC 9112 §9.6): read until the client closes."""
        self.stage = Stage.LEAVING
        self._mark(is_silent=False)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        else:
            self.transport.close()
