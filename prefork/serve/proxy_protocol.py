"""The header a proxy writes in front of everything else, to say whom it speaks for: HAProxy's PROXY protocol, 1 and 2.

Pure: bytes in, a `Header` out; it never decides whom to believe. The rules are those of proxy-protocol.txt §2: a
header is complete or it is not, and what does not begin like one is an error at its first wrong byte, never a guess.
What follows the header is not looked at.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""The first 12 bytes of version 2."""
LONGEST_LINE_BYTES = 107
"""The longest header of version 1, its CRLF included."""

Peer = tuple[str, int] | None
"""Address and port of who is spoken for; None for one on a unix socket, who has neither."""

_WORD = b"PROXY"
_FIXED_BYTES = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6, _UNIX = 0x11, 0x21, 0x31
_ADDRESS_BYTES = {_TCP4: 12, _TCP6: 36, _UNIX: 216}


class Header(NamedTuple):
    """One header that was read."""

    size_bytes: int
    """How many bytes it is; what comes after them is the client's."""
    is_spoken_for: bool
    """False: the proxy speaks for itself (a health check), or says that it does not know; the peer is the client."""
    client: Peer = None


class MalformedHeaderError(ValueError):
    """Not a header. The connection can only be closed: nobody knows where the client's bytes begin."""


def read_header(data: bytes) -> Header | None:
    """The header that `data` begins with; None when it could still become one. Raises `MalformedHeaderError`."""
    if data.startswith(SIGNATURE):
        return _read_binary(data)
    if data.startswith(_WORD):
        return _read_line(data)
    if SIGNATURE.startswith(data) or _WORD.startswith(data):
        return None
    raise MalformedHeaderError("no PROXY header")


def _read_line(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, LONGEST_LINE_BYTES)
    if end < 0:
        if len(data) >= LONGEST_LINE_BYTES:
            raise MalformedHeaderError("the PROXY line is too long")
        return None
    size = end + 2
    words = data[:end].split(b" ")
    if words[1:2] == [b"UNKNOWN"]:  # whatever follows it says nothing
        return Header(size, is_spoken_for=False)
    if len(words) != 6:
        raise MalformedHeaderError("the PROXY line has not six words")
    _, family, source, destination, source_port, destination_port = words
    if family not in (b"TCP4", b"TCP6"):
        raise MalformedHeaderError("the PROXY line has an unknown protocol")
    kind = socket.AF_INET if family == b"TCP4" else socket.AF_INET6
    client = _read_address(kind, source), _read_port(source_port)
    _read_address(kind, destination)
    _read_port(destination_port)
    return Header(size, is_spoken_for=True, client=client)


def _read_address(family: int, word: bytes) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, word.decode("ascii")))
    except (OSError, ValueError):
        raise MalformedHeaderError("the PROXY line has an address that is none") from None


def _read_port(word: bytes) -> int:
    # Digits only, and no zero in front: the specification's form of a number.
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0") or int(word) > 65535:
        raise MalformedHeaderError("the PROXY line has a port that is none")
    return int(word)


def _read_binary(data: bytes) -> Header | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise MalformedHeaderError("the PROXY header has an unknown version or command")
    if len(data) < _FIXED_BYTES:
        return None
    command, family = data[12], data[13]
    length = int.from_bytes(data[14:16], "big")
    if family & 0x0F > 2 or family >> 4 > 3:
        raise MalformedHeaderError("the PROXY header has an unknown protocol")
    needed = _ADDRESS_BYTES.get(family, 0)
    if command == _PROXY and length < needed:
        raise MalformedHeaderError("the PROXY header is too short for its addresses")
    size = _FIXED_BYTES + length
    if len(data) < size:
        return None
    if command == _LOCAL or not needed:  # also a datagram's: no stream was ever one
        return Header(size, is_spoken_for=False)
    if family == _UNIX:
        return Header(size, is_spoken_for=True)
    if family == _TCP4:
        host = socket.inet_ntop(socket.AF_INET, data[16:20])
        port = data[24:26]
    else:
        host = socket.inet_ntop(socket.AF_INET6, data[16:32])
        port = data[48:50]
    return Header(size, is_spoken_for=True, client=(host, int.from_bytes(port, "big")))
