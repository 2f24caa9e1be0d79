"""One client that behaves as its case says, and what it got back."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

from corpus import Case
from judge import BadAnswerError, judge

HANG_S = 15.0
"""A connection whose client has ended its side must be over in so long: more than any deadline of the server's."""
PATIENCE_S = 3.0
READ_BYTES = 65536
RESET = struct.pack("ii", 1, 0)


async def run_case(case: Case, port: int) -> str:
    """What is wrong with how the server treated this case; empty when nothing is."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.wait_for(loop.sock_connect(sock, ("127.0.0.1", port)), HANG_S)
        if case.way == "deaf":
            return await _run_deaf(case, sock)
        received = bytearray()
        reading = loop.create_task(_read(sock, received))
        try:
            was_reset = await _send(case, sock)
            if case.way == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return ""
            if case.way == "waiting":
                await asyncio.wait({reading}, timeout=PATIENCE_S)
            if not reading.done():
                _hang_up(sock)
                await asyncio.wait({reading}, timeout=HANG_S)
            if not reading.done():
                return f"the connection is not over after {HANG_S:g} s; so far {bytes(received[-200:])!r}"
            return _judge(case, bytes(received), was_cut=was_reset or reading.result())
        finally:
            reading.cancel()


async def _run_deaf(case: Case, sock: socket.socket) -> str:
    """It reads nothing, and goes."""
    await _send(case, sock)
    await asyncio.sleep(0.02)
    return ""


async def _send(case: Case, sock: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    try:
        for piece in case.pieces:
            await asyncio.wait_for(loop.sock_sendall(sock, piece), HANG_S)
            await asyncio.sleep(0 if case.way == "bytes" else 0.002)
    except (ConnectionError, TimeoutError, asyncio.TimeoutError):
        return True  # refused before it had all
    return False


async def _read(sock: socket.socket, received: bytearray) -> bool:
    """Until the end; whether that was a reset."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(sock, READ_BYTES):
            received += data
    except ConnectionError:
        return True
    return False


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):  # the server was first
        sock.shutdown(socket.SHUT_WR)


def _judge(case: Case, received: bytes, *, was_cut: bool) -> str:
    try:
        judge(case.data, received, was_cut=was_cut)
    except BadAnswerError as error:
        return f"{error}; got {received[:300]!r}"
    return ""
