"""A service on a loop in a thread of its own, and raw sockets to talk to it, as a worker and its clients do."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import uvloop

from prefork.serve.asgi import AsgiService
from prefork.serve.settings import ServeSettings
from prefork.serve.wsgi import WsgiService

T = TypeVar("T")

DEADLINE_S = 10.0
HOST = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


@dataclass(frozen=True)
class Response:
    """A response as it came, its body decoded."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    is_complete: bool = True

    def all(self, name: str) -> list[str]:
        """Every value of one field."""
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        """The only value of one field, or None."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None


class Client:
    """One blocking connection; every read has a deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(DEADLINE_S)
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_while_taken(self, data: bytes, most_bytes: int) -> int:
        """Send `data` again and again until the server stops taking it; return how many bytes it took."""
        self.sock.settimeout(0.3)
        sent = 0
        try:
            while sent < most_bytes:
                sent += self.sock.send(data[sent % len(data) :][: most_bytes - sent])
        except TimeoutError:
            pass
        self.sock.settimeout(DEADLINE_S)
        return sent

    def ask(self, data: bytes) -> Response:
        self.send(data)
        return self.read_response(method=data[:4].strip())

    def read_until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError(bytes(self._buffer))
            self._buffer += more
        return self.read_exactly(self._buffer.index(end) + len(end))

    def read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError(bytes(self._buffer))
            self._buffer += more
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_to_end(self) -> bytes:
        """Everything until the server ends the connection, by an end of file or a reset."""
        try:
            while more := self.sock.recv(65536):
                self._buffer += more
        except ConnectionError:
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read_response(self, method: bytes = b"GET") -> Response:
        head = self.read_until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        version, status, reason = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        response = Response(int(status), reason, headers, b"")
        if method == b"HEAD" or response.status in (204, 304) or response.status < 200:
            return response
        if response.get("transfer-encoding") == "chunked":
            assert response.get("content-length") is None
            body, complete = self._read_chunks()
        elif (length := response.get("content-length")) is not None:
            body, complete = self.read_exactly(int(length)), True
        else:
            body, complete = self.read_to_end(), True
        return Response(response.status, reason, headers, body, complete)

    def _read_chunks(self) -> tuple[bytes, bool]:
        body = bytearray()
        try:
            while size := int(self.read_until(b"\r\n"), 16):
                body += self.read_exactly(size)
                assert self.read_exactly(2) == b"\r\n"
            assert self.read_exactly(2) == b"\r\n"
        except (EOFError, ConnectionError):
            return bytes(body), False
        return bytes(body), True

    def is_closed(self) -> bool:
        """Wait for the end of the connection; anything else first is a failure."""
        data = self.read_to_end()
        assert data == b""
        return True

    def close(self) -> None:
        self.sock.close()


@dataclass
class Served:
    """A running service."""

    service: AsgiService | WsgiService
    loop: asyncio.AbstractEventLoop
    listener: socket.socket
    clients: list[Client] = field(default_factory=list)

    def connect(self, *, receive_buffer_bytes: int = 0) -> Client:
        family = self.listener.family
        sock = socket.socket(family)
        if receive_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.settimeout(DEADLINE_S)
        sock.connect(self.listener.getsockname())
        client = Client(sock)
        self.clients.append(client)
        return client

    def ask(self, data: bytes) -> Response:
        """One request on a connection of its own."""
        client = self.connect()
        try:
            return client.ask(data)
        finally:
            client.close()

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the loop's thread."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(DEADLINE_S)

    def run(self, coro: Any) -> Any:
        """Run a coroutine on the loop, wait for it."""
        return asyncio.run_coroutine_threadsafe(coro, self.loop).result(DEADLINE_S)

    def drain(self) -> None:
        self.call(self.service.drain)


def wait_until(condition: Callable[[], bool], what: str = "") -> None:
    """Wait for a condition that another thread brings about."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what or "the condition did not come true in time"
        time.sleep(0.002)


@contextmanager
def serving(
    app: Any, interface: str = "asgi", loop: str = "uvloop", family: int = socket.AF_INET, **settings: Any
) -> Iterator[Served]:
    """Serve `app` until the block ends; the service is shut down as a worker would."""
    event_loop = uvloop.new_event_loop() if loop == "uvloop" else asyncio.new_event_loop()
    make = cast(Any, AsgiService if interface == "asgi" else WsgiService)
    if interface == "wsgi-threads":
        settings.setdefault("threads", 3)
    service = make(app, ServeSettings(**settings), event_loop)
    listener = socket.socket(family)
    if family == socket.AF_UNIX:
        listener.bind("")  # an abstract name of the kernel's choice
    else:
        listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    listener.setblocking(False)
    thread = threading.Thread(target=_run_loop, args=(event_loop,), name="serving", daemon=True)
    thread.start()
    served = Served(service, event_loop, listener)
    try:
        served.run(service.start_up())
        served.call(lambda: event_loop.create_task(_accept(event_loop, listener, service), name="accept"))
        yield served
        for client in served.clients:
            client.close()
        served.drain()
        served.run(asyncio.wait_for(service.wait_drained(), DEADLINE_S))
        counters = service.counters
        assert (counters.connections, counters.in_flight) == (0, 0)
    finally:
        served.call(service.cut)
        served.run(asyncio.wait_for(service.shut_down(), DEADLINE_S))
        event_loop.call_soon_threadsafe(event_loop.stop)
        thread.join(DEADLINE_S)
        for client in served.clients:
            client.close()
        listener.close()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()


async def _accept(loop: asyncio.AbstractEventLoop, listener: socket.socket, service: Any) -> None:
    while True:
        sock, _ = await loop.sock_accept(listener)
        await loop.connect_accepted_socket(service.open_connection, sock)
