"""What we take from the `websockets` package: the opening handshake, and frames in and out (RFC 6455, RFC 7692).

The package checks; this file only bends it where a server of many quiet sockets, or the RFC, wants something else:
the compressor's memory is taken at the first message that needs it, not at the handshake; a Close may come in the
middle of a fragmented message; nothing is logged, for bad frames are nobody's news.

It must be imported only when a client asks for a WebSocket: the package, with what it imports of the standard library,
takes 40 ms and 4.5 MB in a bare process (2 MB behind FastAPI), which an app without WebSockets must not pay, neither at
its start nor in its zygote. So each worker's first handshake pays, once.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from websockets.datastructures import Headers
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import ExtensionParameter

LONGEST_CONTROL_BYTES = 125
WINDOW_BITS = 12
MEMORY_LEVEL = 5
"""Of the compressor: 32 KB of its own for each socket that has sent something long, instead of 256."""

_END_OF_MESSAGE = b"\0\0\xff\xff"  # RFC 7692 §7.2.2

# Of no family: whatever is configured for other loggers, the package says nothing.
_MUTE = logging.Logger("websockets", logging.CRITICAL + 1)  # noqa: LOG001 - one that is not in the tree


class Handshake(NamedTuple):
    """How a client's opening handshake is answered: with 101 and these values, or with a refusal."""

    refusal: str
    """Why not; empty if all is well."""
    accept: str
    extensions: str


class Wire(ServerProtocol):
    """One connection's frames. Open from the start: the handshake is the HTTP side's, who asks `shake_hands` about it.

    `max_size_bytes` (0: none) is to be checked by the caller too: a control frame in the middle of a message that
    is nearly too long must not count for it, so here the limit is higher by one.
    """

    def __init__(self, max_size_bytes: int, *, deflates: bool) -> None:
        super().__init__(
            extensions=[_Deflating()] if deflates else None,
            state=State.OPEN,
            max_size=max_size_bytes + LONGEST_CONTROL_BYTES if max_size_bytes else None,
            logger=_MUTE,
        )

    def shake_hands(self, headers: list[tuple[bytes, bytes]]) -> Handshake:
        """Check the fields of a GET for `Upgrade: websocket`, version 13; settle the extensions."""
        ours = Headers({"Upgrade": "websocket"})  # the client's may name others beside it (RFC 9110 §7.8)
        for name, value in headers:
            if name == b"connection" or name.startswith(b"sec-websocket-"):
                ours[name.decode("latin-1")] = value.decode("latin-1")
        response = self.accept(Request("/", ours))
        if response.status_code != 101:
            return Handshake(str(self.handshake_exc), "", "")
        extensions = response.headers.get("Sec-WebSocket-Extensions", "")
        return Handshake("", response.headers["Sec-WebSocket-Accept"], extensions)

    def recv_frame(self, frame: Frame) -> None:
        """As the package does; but a Close may come before a message is complete (RFC 6455 §5.4)."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)

    def find_inflater(self) -> LazyDeflate | None:
        """What was agreed on for messages of the client's, after a handshake."""
        return next((it for it in self.extensions if isinstance(it, LazyDeflate)), None)

    def dismantle(self) -> None:
        """Break the rings that lead back here by the parser and by its error's traceback: the collector may be off.

        Nothing may be read afterwards.
        """
        self.parser.close()
        del self.parser
        self.parser_exc = None


class _Deflating(ServerPerMessageDeflateFactory):
    """Negotiates as the package's own does."""

    def __init__(self) -> None:
        super().__init__(
            server_max_window_bits=WINDOW_BITS,
            client_max_window_bits=WINDOW_BITS,
            compress_settings={"memLevel": MEMORY_LEVEL},
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        answer, settled = super().process_request_params(params, accepted_extensions)
        return answer, LazyDeflate(settled)


class LazyDeflate(PerMessageDeflate):
    """Makes each of its two halves when it is first used."""

    def __init__(self, settled: PerMessageDeflate) -> None:
        vars(self).update(vars(settled))
        for half in ("encoder", "decoder"):
            vars(self).pop(half, None)

    def __getattr__(self, name: str) -> Any:
        if name == "encoder":
            self.encoder = zlib.compressobj(wbits=-self.local_max_window_bits, **self.compress_settings)
            return self.encoder
        if name == "decoder":
            self.decoder = zlib.decompressobj(wbits=-self.remote_max_window_bits)
            return self.decoder
        raise AttributeError(name)

    def inflate(self, data: bytes, limit_bytes: int) -> bytes:
        """A whole message that came in one frame; one byte more than the limit (0: none) if it is longer than that.

        Raises zlib.error.
        """
        decoder: Any = self.decoder
        if self.remote_no_context_takeover:
            del self.decoder
        inflated: bytes = decoder.decompress(data + _END_OF_MESSAGE, limit_bytes and limit_bytes + 1)
        return inflated
