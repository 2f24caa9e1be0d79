"""How many connections does the kernel hold for a listener? Asked by the accept path, so it costs one system call."""

from __future__ import annotations

import socket
import struct

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_LAST = struct.Struct("=24xI")
"""The beginning of `struct tcp_info`, see tcp(7), as far as `tcpi_unacked`: of a listener the length of its queue."""


def count_waiting(listener: socket.socket) -> int | None:
    """None where the kernel does not tell: unix sockets, and systems other than Linux."""
    if _TCP_INFO is None:
        return None
    try:
        waiting: int = _LAST.unpack(listener.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST.size))[0]
    except (OSError, struct.error):
        return None
    return waiting
