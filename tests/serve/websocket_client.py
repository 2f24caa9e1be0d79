"""A WebSocket client that says exactly what it is told to, right or wrong, byte by byte, and believes nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from dataclasses import dataclass
from typing import Any

from tests.serve.serving import Client, Response, Served

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(bytes(range(16)))


@dataclass(frozen=True)
class Frame:
    opcode: int
    data: bytes
    fin: bool = True
    rsv1: bool = False


def handshake(
    *lines: bytes,
    path: bytes = b"/",
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    host: bytes = b"Host: test",
    connection: bytes = b"Connection: Upgrade",
    upgrade: bytes = b"Upgrade: websocket",
    key: bytes = b"Sec-WebSocket-Key: " + KEY,
    ws_version: bytes = b"Sec-WebSocket-Version: 13",
) -> bytes:
    """An opening handshake; a line that is empty is left out."""
    head = [method + b" " + path + b" " + version, host, connection, upgrade, key, ws_version, *lines]
    return b"\r\n".join(line for line in head if line) + b"\r\n\r\n"


def render(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A frame as a client sends it."""
    size = len(data)
    mask_bit = 0x80 if masked else 0
    if size < 126:
        length = bytes((mask_bit | size,))
    elif size < 65536:
        length = bytes((mask_bit | 126,)) + struct.pack("!H", size)
    else:
        length = bytes((mask_bit | 127,)) + struct.pack("!Q", size)
    head = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,)) + length
    if not masked:
        return head + data
    mask = os.urandom(4)
    key = int.from_bytes(mask * (size // 4 + 1), "big") >> (8 * (4 - size % 4))
    return head + mask + (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")


def close_data(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


class Socket:
    """An open WebSocket over a raw connection."""

    def __init__(self, client: Client, *lines: bytes, path: bytes = b"/", behind: bytes = b"") -> None:
        self.client = client
        self.client.send(handshake(*lines, path=path) + behind)
        self.response: Response = read_switch(client)

    def send(self, opcode: int, data: bytes = b"", **options: Any) -> None:
        self.client.send(render(opcode, data, **options))

    def read(self) -> Frame:
        first, second = self.client.read_exactly(2)
        assert not second & 0x80, "a server masks nothing"
        assert not first & 0x30, "reserved bits"
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", self.client.read_exactly(2))
            assert size > 125, "not the shortest length"
        elif size == 127:
            (size,) = struct.unpack("!Q", self.client.read_exactly(8))
            assert size > 0xFFFF, "not the shortest length"
        return Frame(first & 15, self.client.read_exactly(size), bool(first & 0x80), bool(first & 0x40))

    def echo(self, text: str) -> None:
        self.send(TEXT, text.encode())
        assert self.read() == Frame(TEXT, text.encode())

    def read_close(self) -> tuple[int, str]:
        """The Close, which is the next frame; 1005 for one without a code."""
        frame = self.read()
        assert (frame.opcode, frame.fin) == (CLOSE, True), frame
        if not frame.data:
            return 1005, ""
        return int.from_bytes(frame.data[:2], "big"), frame.data[2:].decode()

    def is_ended(self) -> bool:
        """Nothing more comes but the end of file."""
        return self.client.is_closed()

    def close(self, code: int = 1000, reason: bytes = b"") -> None:
        """The client's closing handshake."""
        self.send(CLOSE, close_data(code, reason))
        assert self.read_close() == (code, reason.decode())
        assert self.is_ended()


def read_switch(client: Client) -> Response:
    """The 101, with the answer that belongs to our key."""
    head = client.read_until(b"\r\n\r\n").decode("latin-1")
    first, *lines = head[:-4].split("\r\n")
    version, status, reason = first.split(" ", 2)
    assert (version, status) == ("HTTP/1.1", "101"), head
    headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
    response = Response(int(status), reason, headers, b"")
    expected = base64.b64encode(hashlib.sha1(KEY + GUID).digest()).decode()
    assert response.get("sec-websocket-accept") == expected
    assert response.get("upgrade") == "websocket"
    assert response.get("connection") == "Upgrade"
    return response


def open_socket(served: Served, *lines: bytes, path: bytes = b"/", behind: bytes = b"") -> Socket:
    return Socket(served.connect(), *lines, path=path, behind=behind)
