"""A Protocol that answers each read with the same bytes: bare_uvloop.py PORT WORKERS FILE, or `echo` for FILE.

What the loop and the kernel cost, and nothing else: no parsing, no app, no Date. With `echo` what follows the head is
said back.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import cast

import uvloop


def compose(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Canned(asyncio.Protocol):
    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - that is the point
        self.transport.write(self.answer)


class Echo(Canned):
    def data_received(self, data: bytes) -> None:
        self.transport.write(compose(data.partition(b"\r\n\r\n")[2]))


async def serve(listener: socket.socket, protocol: type[Canned]) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
    await server.serve_forever()


def main(port: int, workers: int, answer: str) -> None:
    if answer != "echo":
        Canned.answer = compose(Path(answer).read_bytes())
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    uvloop.install()
    asyncio.run(serve(listener, Echo if answer == "echo" else Canned))


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
