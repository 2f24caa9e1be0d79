"""A raw HTTP/1.1 client with a deadline on every wait.

It takes nothing for granted: a response is complete only if its framing says so, and each way of failing has its own
exception, because "refused", "reset" and "cut" are different broken promises.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

Address = tuple[str, int] | str
"""(host, port), or the path of a unix socket."""

TIMEOUT_S = 10.0


class CutError(Exception):
    """The connection ended before the response did."""


class MalformedError(Exception):
    """What arrived is no HTTP response."""


@dataclass(frozen=True)
class Response:
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order of the wire."""
    body: bytes = field(repr=False)
    interim: tuple[int, ...] = ()
    """The 1xx responses that came first."""

    def header(self, name: str) -> str | None:
        """The value of a header that is there at most once."""
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise MalformedError(f"{name} {len(values)} times: {values}")
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    def says_close(self) -> bool:
        return (self.header("connection") or "").lower() == "close"


class Connection:
    """One connection; `with` closes it."""

    def __init__(self, address: Address, timeout_s: float = TIMEOUT_S) -> None:
        self.sock = connect(address, timeout_s)
        self._received = bytearray()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(self, path: str = "/", *, method: str = "GET", head: str = "", body: bytes = b"") -> Response:
        """Send a request and read its response. `head`: more header lines, each ending in CRLF."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: test\r\n{length}{head}\r\n".encode() + body)
        return self.read_response(method)

    def read_response(self, method: str = "GET") -> Response:
        """The next response; CutError if the connection ends too early, TimeoutError if nothing comes."""
        interim: list[int] = []
        while True:
            status, reason, headers = parse_head(self.read_until(b"\r\n\r\n"))
            if status >= 200 or status == 101:
                break
            interim.append(status)
        found = dict(headers)
        if method == "HEAD" or status in {101, 204, 304}:
            body = b""
        elif found.get("transfer-encoding") == "chunked":
            body = self.read_chunked()
        elif "content-length" in found:
            body = self.read_exactly(int(found["content-length"]))
        else:
            body = self.read_to_end()
        return Response(status, reason, headers, body, tuple(interim))

    def read_until(self, mark: bytes) -> bytes:
        while (at := self._received.find(mark)) < 0:
            self._receive()
        return self._take(at + len(mark))

    def read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        return self._take(size)

    def read_to_end(self) -> bytes:
        """All that comes until the peer closes its side properly."""
        while data := self.sock.recv(65536):
            self._received += data
        return self._take(len(self._received))

    def is_closed_by_peer(self) -> bool:
        """Nothing is left to read and the peer said so, within the connection's timeout."""
        return not self._received and self.sock.recv(1) == b""

    def read_chunked(self) -> bytes:
        """A chunked body whose head was read before."""
        body = bytearray()
        while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
            body += self.read_exactly(size)
            if self.read_exactly(2) != b"\r\n":
                raise MalformedError("a chunk is longer than it says")
        while self.read_until(b"\r\n") != b"\r\n":
            pass  # a trailer
        return bytes(body)

    def _receive(self) -> None:
        data = self.sock.recv(262144)
        if not data:
            raise CutError(f"the peer closed after {bytes(self._received[:200])!r}")
        self._received += data

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


def get(address: Address, path: str = "/", timeout_s: float = TIMEOUT_S) -> Response:
    """One request on a connection of its own."""
    with Connection(address, timeout_s) as connection:
        return connection.request(path, head="Connection: close\r\n")


def connect(address: Address, timeout_s: float = TIMEOUT_S) -> socket.socket:
    if isinstance(address, tuple):
        sock = socket.create_connection(address, timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout_s)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def parse_head(head: bytes) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    version, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if version not in {"HTTP/1.0", "HTTP/1.1"} or not status.isdecimal():
        raise MalformedError(f"not a status line: {first!r}")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise MalformedError(f"not a header: {line!r}")
        headers.append((name.lower(), value.strip()))
    return int(status), reason, tuple(headers)
