"""One open WebSocket: frames in, messages to the exchange; messages out; and how it ends.

It takes over the transport of an `HttpConnection` when the app has accepted. The `websockets` package reads frames,
but for the plainest kind (whole and short), which is unmasked here: that is nearly every message of

Both directions are bounded: past what the app has not received, reading stops; past what the client has not read,
the app's `send` waits at the gate, and of the pongs owed only the last is kept (RFC 6455 §5.5.3).

After a Close of ours, messages that the client had already sent still reach the app, until its own Close comes.
"""

from __future__ import annotations

import asyncio
import enum
import zlib
from typing import TYPE_CHECKING, cast

from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode

from prefork.serve.ends import has_unread
from prefork.serve.websocket_frames import (
    BINARY,
    DEFLATED,
    LONGEST_SHORT,
    MASKED,
    PONG,
    SHORTEST_HEAD,
    TEXT,
    apply_mask,
    measure_frame,
    render_head,
)
from prefork.serve.websocket_wire import LazyDeflate, Wire

if TYPE_CHECKING:
    from prefork.serve.http import HttpConnection
    from prefork.serve.websocket_exchange import WebSocketExchange
    from prefork.serve.websocket_group import WebSocketGroup

DEFLATE_FROM_BYTES = 128
"""A shorter message is sent as it is: compressing it saves less than it costs."""
JOIN_BYTES = 65536
"""A message up to so long is copied behind its frame's head, to be one write."""
GONE, BROKEN, NO_TEXT, TOO_BIG, FAILED = 1006, 1002, 1007, 1009, 1011
"""Close codes; the first is for the app only (RFC 6455 §7.4.1)."""


class Stage(enum.Enum):
    """How far its end is; it only moves downwards."""

    OPEN = enum.auto()
    CLOSING = enum.auto()
    """We have sent a Close; the client's is awaited, and read until then."""
    LINGERING = enum.auto()
    """Half-closed: all is said, and nothing more is read but the end of file."""
    LOST = enum.auto()


class WebSocketConnection(asyncio.Protocol):
    """The protocol object of one socket, from the 101 to its end."""

    __slots__ = (
        "_exchange",
        "_head",
        "_held",
        "_inflater",
        "_left_bytes",
        "_limit_bytes",
        "_message",
        "_message_is_text",
        "_owed_pong",
        "_wire",
        "gate",
        "group",
        "has_spoken",
        "is_pinged",
        "moved_at",
        "reading_paused",
        "since",
        "stage",
        "transport",
        "unwritten_bytes",
    )

    def __init__(
        self, exchange: WebSocketExchange, wire: Wire, connection: HttpConnection, group: WebSocketGroup
    ) -> None:
        self._exchange = exchange
        self._wire = wire
        self.group = group
        self._limit_bytes = group.max_size_bytes
        self.transport: asyncio.Transport = connection.transport
        self.gate = connection.gate
        self._inflater = wire.find_inflater()
        self.stage = Stage.OPEN
        self.reading_paused = connection.reading_paused
        self.has_spoken = False
        """Something came since the last ping."""
        self.is_pinged = False
        self.since = self.moved_at = group.clock.now
        """When it was pinged, or last known to be alive, or its Close was sent; when its client last took something."""
        self.unwritten_bytes = 0
        """What its deadlines saw at their last look."""
        self._owed_pong = b""
        self._held = b""
        """Read, but more than the app takes at the moment."""
        self._head = b""
        """The beginning of a frame whose length is not known yet."""
        self._left_bytes = 0
        """What is to come of a frame that the package is reading."""
        self._message: bytearray | None = None
        """The fragments of a message that is not complete."""
        self._message_is_text = False

    # The transport's callbacks.

    def data_received(self, data: bytes) -> None:
        self.has_spoken = True
        if self._held:
            self._held += data
        else:
            self._take(data)

    def eof_received(self) -> bool:
        self._end(GONE, "")
        return False  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the end is the end
        self._end(GONE, "")
        self.stage = Stage.LOST
        self._held = b""
        self.gate.open()
        self._wire.dismantle()
        self.group.discard(self)

    def pause_writing(self) -> None:
        self.gate.shut()

    def resume_writing(self) -> None:
        if self._owed_pong:
            pong, self._owed_pong = self._owed_pong, b""
            self.transport.write(pong)
        self.gate.open()

    # For the exchange.

    def take_over(self, early: bytes) -> None:
        """The transport is ours; `early` is what the client sent behind its handshake."""
        self.transport.set_protocol(self)
        self.group.add(self)
        if early:
            self._take(early)
        if self.reading_paused and not self._held:
            self._resume_reading()

    def put(self, opcode: Opcode, data: bytes) -> None:
        """Send a message; the caller then waits while the gate is shut."""
        size = len(data)
        if self._inflater is not None and size >= DEFLATE_FROM_BYTES:
            if opcode is Opcode.TEXT:
                self._wire.send_text(data)
            else:
                self._wire.send_binary(data)
            self._flush()
            return
        head = render_head(TEXT if opcode is Opcode.TEXT else BINARY, size)
        if size <= JOIN_BYTES:
            self.transport.write(head + data)
        else:
            self.transport.write(head)
            self.transport.write(data)

    def is_lost(self) -> bool:
        """Whether nothing that was put can arrive any more."""
        return self.stage is Stage.LOST

    def close(self, code: int, reason: str) -> None:
        """Send a Close, and wait for the client's. Raises ValueError for a code or a reason that may not be sent."""
        try:
            self._wire.send_close(code, reason)
        except ProtocolError as error:
            raise ValueError(
                f"close code {code} with a reason of {len(reason)} characters: {error}"
            ) from None
        self.stage = Stage.CLOSING
        self.since = self.group.clock.now
        self._flush()

    def resume(self) -> None:
        """The app has received all that there was: read on."""
        while self._held and not self._exchange.is_full:
            held, self._held = self._held, b""
            self._take(held)
        if self.reading_paused and not self._held:
            self._resume_reading()

    # For the group.

    def is_quiet(self) -> bool:
        """Is nothing under way from the client, and does the app only wait for it to speak?"""
        return (
            self._exchange.is_waiting()
            and not (self._held or self._head or self._left_bytes)
            and self._message is None
            and not has_unread(self.transport)
        )

    def leave(self, code: int, reason: str) -> None:
        """Close it for a reason of the server's."""
        if self.stage is Stage.OPEN:
            self.close(code, reason)

    def cut(self, code: int, reason: str) -> None:
        """End it now. The client is told if it can hear it."""
        self.leave(code, reason)
        self._end(GONE, "")
        self.stage = Stage.LINGERING
        self._held = b""
        if self.gate.is_shut:
            self.transport.abort()
        else:
            self.transport.close()

    # Frames in.

    def _take(self, data: bytes) -> None:
        if self._head:
            data = self._head + data
            self._head = b""
        at = 0
        size = len(data)
        exchange = self._exchange
        while at < size and (self.stage is Stage.OPEN or self.stage is Stage.CLOSING):
            if exchange.is_full:
                self._held = data[at:]
                self._pause_reading()
                return
            if self._left_bytes:
                frame = data[at : at + self._left_bytes]
                at += len(frame)
                self._left_bytes -= len(frame)
                self._read(frame)
                continue
            first, length = data[at], data[at + 1] ^ MASKED if at + 1 < size else MASKED
            end = at + SHORTEST_HEAD + length
            if (
                (
                    TEXT <= first <= BINARY
                    or (self._inflater is not None and TEXT <= first ^ DEFLATED <= BINARY)
                )
                and length <= LONGEST_SHORT
                and end <= size
                and self._message is None
                and not 0 < self._limit_bytes < length
            ):
                payload = apply_mask(data[at + SHORTEST_HEAD : end], data[at + 2 : at + SHORTEST_HEAD])
                at = end
                if first > BINARY:
                    self._deliver_deflated(payload, is_text=first == TEXT | DEFLATED)
                else:
                    self._deliver(payload, is_text=first == TEXT)
                continue
            whole = measure_frame(data, at)
            if not whole:
                self._head = data[at:]
                return
            self._left_bytes = whole

    def _read(self, data: bytes) -> None:
        """Give a piece of a frame to the package, do what comes of it."""
        wire = self._wire
        wire.receive_data(data)
        for event in wire.events_received():
            frame = cast(Frame, event)
            if frame.opcode is Opcode.CLOSE:
                close = cast(Close, wire.close_rcvd)
                self._finish(close.code, close.reason)
                return
            if frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
                continue
            self._put_together(frame)
        if wire.parser_exc is not None:
            self._give_up(str(wire.parser_exc))
        else:
            self._flush()

    def _put_together(self, frame: Frame) -> None:
        data = bytes(frame.data)
        message = self._message
        if self._limit_bytes and len(data) + len(message or b"") > self._limit_bytes:
            self.fail(TOO_BIG, f"more than {self._limit_bytes} bytes")
        elif message is None:
            if frame.fin:
                self._deliver(data, is_text=frame.opcode is Opcode.TEXT)
            else:
                self._message = bytearray(data)
                self._message_is_text = frame.opcode is Opcode.TEXT
        else:
            message += data
            if frame.fin:
                self._message = None
                self._deliver(bytes(message), is_text=self._message_is_text)

    def _deliver_deflated(self, data: bytes, *, is_text: bool) -> None:
        limit_bytes = self._limit_bytes
        try:
            data = cast(LazyDeflate, self._inflater).inflate(data, limit_bytes)
        except zlib.error:
            self.fail(BROKEN, "decompression failed")
            return
        if 0 < limit_bytes < len(data):
            self.fail(TOO_BIG, f"more than {limit_bytes} bytes")
        else:
            self._deliver(data, is_text=is_text)

    def _deliver(self, data: bytes, *, is_text: bool) -> None:
        if is_text:
            try:
                self._exchange.take_text(data.decode(), len(data))
            except UnicodeDecodeError as error:
                self.fail(NO_TEXT, f"{error.reason} at position {error.start}")
        else:
            self._exchange.take_bytes(data)

    def _flush(self) -> None:
        """Write what the package wants to be written."""
        for data in self._wire.data_to_send():
            if data and data[0] == PONG and self.gate.is_shut:
                self._owed_pong = data
            elif data:  # an empty one asks for the half-close, which `_finish` and `_give_up` do
                self.transport.write(data)

    def _pause_reading(self) -> None:
        if not self.reading_paused:
            self.reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self.reading_paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # The end.

    def _finish(self, code: int, reason: str) -> None:
        """The client's Close has come, and was answered: both have said everything."""
        self._flush()
        self._end(code, reason)
        self.stage = Stage.LINGERING
        self.since = self.group.clock.now
        self.transport.close()

    def fail(self, code: int, reason: str) -> None:
        """Say why and read no more (RFC 6455 §7.1.7)."""
        self._wire.fail(code, reason)
        self._give_up(reason)

    def _give_up(self, why: str) -> None:
        close = self._wire.close_sent
        self.group.note_bad_input(self._exchange, why)
        self._flush()
        self._end(close.code, close.reason) if close is not None else self._end(GONE, "")
        self.stage = Stage.LINGERING
        self.since = self.group.clock.now
        self._held = b""
        # What the client is still sending must not become a reset that overtakes the Close.
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
            self._resume_reading()
        else:
            self.transport.close()

    def _end(self, code: int, reason: str) -> None:
        """Tell the app, once: of a Close of ours if that came first."""
        if self.stage is Stage.CLOSING:
            close = cast(Close, self._wire.close_sent)
            code, reason = close.code, close.reason
        self._exchange.end(code, reason)
