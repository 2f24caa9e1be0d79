"""How many connections does the kernel hold for a listener? Asked by the accept path, so it costs one system call."""

from __future__ import annotations

import socket
import struct

_UNACKED = struct.Struct("=I")
_UNACKED_AT = 24
"""Of `struct tcp_info`, see tcp(7): for a listener it is the length of its accept queue."""


def count_waiting(listener: socket.socket) -> int | None:
    """None where the kernel does not tell: unix sockets, and systems other than Linux."""
    if listener.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED_AT + _UNACKED.size)
        waiting: int = _UNACKED.unpack_from(info, _UNACKED_AT)[0]
    except (OSError, struct.error):
        return None
    return waiting
