"""Who is at the other end of a unix socket, by the kernel's word: see unix(7), SO_PEERCRED."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("=iII")


class Peer(NamedTuple):
    """Its process when it connected, or began to listen."""

    pid: int
    """0 if it is in a pid namespace that we cannot see."""
    uid: int


def read_peer(sock: socket.socket) -> Peer | None:
    """None where the kernel does not tell; the file's mode is all there is then."""
    option: int | None = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    try:
        pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    except (OSError, struct.error):
        return None
    return Peer(pid, uid)
