"""Transports that somebody else introduced: a proxy said who is at the other end.

The loops' own transports answer `get_extra_info("peername")` themselves and take no correction, so that a transport
in front of them does. It costs nothing per byte: every other method is the loop's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prefork.serve.proxy_protocol import Peer

_THE_SAME = (
    "abort",
    "can_write_eof",
    "close",
    "get_protocol",
    "get_write_buffer_limits",
    "get_write_buffer_size",
    "is_closing",
    "is_reading",
    "pause_reading",
    "resume_reading",
    "set_protocol",
    "set_write_buffer_limits",
    "write",
    "write_eof",
    "writelines",
)


class IntroducedTransport(asyncio.Transport):
    """The transport `lower`, but for the name of its peer."""

    def __init__(self, lower: asyncio.Transport, peer: object) -> None:
        super().__init__()
        self._peer = peer
        self._lower = lower
        for name in _THE_SAME:
            setattr(self, name, getattr(lower, name))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peer if name == "peername" else self._lower.get_extra_info(name, default)


def name_peer(client: Peer) -> object:
    """As `getpeername` would name this client: two parts for IPv4, four for IPv6, nothing on a unix socket."""
    if client is None:
        return ""
    host, port = client
    return (host, port, 0, 0) if ":" in host else client


def find_feed(protocol: asyncio.BaseProtocol) -> Callable[[bytes], None]:
    """What takes bytes for this protocol, whichever of asyncio's two kinds it is."""
    if not isinstance(protocol, asyncio.BufferedProtocol):
        feed: Callable[[bytes], None] = protocol.data_received  # type: ignore[attr-defined] # every other protocol's
        return feed

    def feed_buffered(data: bytes) -> None:
        while data:
            buffer = memoryview(protocol.get_buffer(len(data)))
            size = min(len(buffer), len(data))
            if not size:
                raise RuntimeError("get_buffer() returned an empty buffer")
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]

    return feed_buffered
