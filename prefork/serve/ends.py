"""Who is at either end of a connection, in the words of an ASGI scope, and whether the other one has spoken."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import NamedTuple

_TCP_INFO_SIZE = 128
_BYTES_ACKED, _BYTES_ACKED_AT = struct.Struct("=Q"), 120
"""`tcpi_bytes_acked` in linux/tcp.h, the same on every machine."""

Client = tuple[str, int] | None
"""Address and port; None on a unix socket, whose clients have neither."""
Server = tuple[str, int | None] | None
"""Address and port, or a unix socket's path and None."""


class Ends(NamedTuple):
    """Whom a request is from, and what it was sent to."""

    client: Client
    server: Server
    scheme: str
    """`http` or `https`."""
    host: bytes = b""
    """What stands for the Host field; empty: that field itself."""


def name_ends(transport: asyncio.Transport) -> tuple[Client, Server]:
    """The two ends of a connected transport, read once: `getpeername` fails after a disconnect."""
    peer = transport.get_extra_info("peername")
    own = transport.get_extra_info("sockname")
    client = (str(peer[0]), int(peer[1])) if isinstance(peer, (tuple, list)) else None
    if isinstance(own, (tuple, list)):
        return client, (str(own[0]), int(own[1]))
    if isinstance(own, bytes):  # an abstract unix socket
        own = own.decode("utf-8", "surrogateescape")
    return client, (own, None) if own else None


def count_taken(transport: asyncio.Transport) -> int | None:
    """How many bytes the client's side has acknowledged so far; None where the kernel does not say. See tcp(7)."""
    sock = transport.get_extra_info("socket")
    try:
        answer: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        taken: int = _BYTES_ACKED.unpack_from(answer, _BYTES_ACKED_AT)[0]
    except (OSError, AttributeError, struct.error):  # a unix socket, another system, a kernel before 4.1
        return None
    return taken


def has_unread(transport: asyncio.Transport) -> bool:
    """Did the client send something that the loop has not read yet? See tcp(7), FIONREAD.

    A loop that did not run for a while (a call that blocks it, a stopped process) looks at its timers before it has
    seen what came meanwhile; to close such a connection as silent would reset it.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
    except (OSError, ValueError):
        return False
    return bool(struct.unpack("i", answer)[0])
