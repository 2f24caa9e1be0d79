"""TLS on an established connection: to the socket's transport a protocol, to the app's protocol a transport.

Not the loops' own, because theirs know no half-close: a response that meets unread input could be overtaken by a reset
(RFC 9112 §9.6), and a stream handler could not answer a client that has ended its side. TLS has both (RFC 8446 §6.1):
`write_eof` sends close_notify and goes on reading. All else behaves as a plain connection's transport does.

The handshake is over when it begins its work: see `door`. OpenSSL does the rest, on memory; it never touches a socket.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from prefork.serve.introduced import find_feed

PIECE_BYTES = 65536
"""Asked of OpenSSL at once; it gives a record, 16 KB at most."""


class Session(NamedTuple):
    """One connection's half of TLS, its handshake done or on its way."""

    ssl: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One connection's."""

    def __init__(self, lower: asyncio.Transport, session: Session, facts: dict[str, object]) -> None:
        super().__init__()
        self._facts = facts
        self._lower = lower
        self._ssl, self._incoming, self._outgoing = session
        self._protocol: asyncio.BaseProtocol | None = None
        self._feed: Callable[[bytes], None] | None = None
        self._is_paused = False
        self._is_ended = False
        """The client has ended its side, and the protocol knows."""
        self._is_cut_off = False
        """There is nothing behind what was read from the socket."""
        self._has_said_end = False
        """We have: nothing is written any more."""
        self.is_closing = lower.is_closing  # type: ignore[method-assign] # a call less
        self.get_write_buffer_size = lower.get_write_buffer_size  # type: ignore[method-assign]

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Connect the app's protocol, and give it what has come behind the handshake."""
        self.set_protocol(protocol)
        protocol.connection_made(self)
        self._read()

    # For the protocol above: a transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._facts[name] if name in self._facts else self._lower.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._feed = find_feed(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[return-value] # None when it is lost, as the loops' own

    def is_reading(self) -> bool:
        return not self._is_paused and self._lower.is_reading()

    def pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._lower.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused and not self.is_closing():
            self._is_paused = False
            self._lower.resume_reading()
            # Not from here: the caller may be in the middle of something.
            asyncio.get_running_loop().call_soon(self._read)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._lower.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._lower.get_write_buffer_limits()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._has_said_end:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self.is_closing():
            return
        try:
            taken = self._ssl.write(data)
            while taken < len(data):  # OpenSSL writes to memory, so it has no reason to
                data = memoryview(data)[taken:]
                taken = self._ssl.write(data)
        except ssl.SSLError:
            self.abort()
            return
        self._lower.write(self._outgoing.read())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._has_said_end and not self.is_closing():
            self._say_end()
            with suppress(OSError):  # the client has gone meanwhile
                self._lower.write_eof()

    def close(self) -> None:
        if not self.is_closing():
            self._say_end()
            self._lower.close()

    def abort(self) -> None:
        self._lower.abort()

    def _say_end(self) -> None:
        if not self._has_said_end:
            # unwrap() also looks for the client's close_notify: data in its place would break the session for good.
            unread = self._incoming.read()
            with suppress(ssl.SSLError):  # it is not there, and we do not wait for it
                self._ssl.unwrap()
            self._incoming.write(unread)
            self._flush()
            self._has_said_end = True

    def _flush(self) -> None:
        if self._outgoing.pending and not self._has_said_end:
            self._lower.write(self._outgoing.read())

    # For the transport below: a protocol.

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        self._read()

    def eof_received(self) -> bool:
        # Not for OpenSSL to know: to it an end without close_notify is an error, and it would write no more.
        self._is_cut_off = True
        self._read()
        return True  # whether to close was decided, or will be when reading is resumed

    def connection_lost(self, exc: Exception | None) -> None:
        protocol, self._protocol, self._feed = self._protocol, None, None
        if protocol is not None:
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    def _read(self) -> None:
        incoming, session = self._incoming, self._ssl
        while not self._is_paused and not self._is_ended and self._feed is not None:
            try:
                data = session.read(PIECE_BYTES)
            except ssl.SSLWantReadError:
                if not self._is_cut_off:
                    break
                data = b""
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError:  # the bytes are not TLS any more
                self._flush()
                self.abort()
                return
            if not data:
                self._end()
                break
            self._feed(data)
            if not incoming.pending and not self._is_cut_off and not session.pending():
                break  # the next read would only say so, by an exception
        if not self.is_closing():
            self._flush()  # an answer to a key update

    def _end(self) -> None:
        """The client has said its last: by a close_notify, or by closing the socket."""
        self._is_ended = True
        protocol = self._protocol
        if isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol) and not protocol.eof_received():
            self.close()
