"""Deadlines on bodies, readers and whole requests: a drip buys no time, a pause in a fast transfer costs none."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serve.serving import DEADLINE_S, GET, HOST, Client, serving, wait_until

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
EVERY = pytest.mark.parametrize("interface", ["asgi", "wsgi", "wsgi-threads"])

PATIENCE: dict[str, Any] = {"header_timeout_s": 0.2, "min_body_rate_bytes": 200}
"""A short header timeout makes for a fast tick."""


async def measure_asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


def measure_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [])
    return [b"%d" % size]


def measuring(interface: str) -> Any:
    return measure_asgi if interface == "asgi" else measure_wsgi


def drip(client: Client, piece: bytes, count: int, every_s: float = 0.02) -> bytes:
    """Send pieces at a steady pace until the server says something; return that."""
    client.sock.settimeout(every_s)
    try:
        for _ in range(count):
            client.send(piece)
            try:
                return client.sock.recv(65536)
            except TimeoutError:
                continue
        client.sock.settimeout(DEADLINE_S)
        return client.sock.recv(65536)
    except ConnectionError:
        return b""
    finally:
        client.sock.settimeout(DEADLINE_S)


def post(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefork.serve.deadlines.BODY_GRACE_S", 0.4)


@LOOPS
@EVERY
@pytest.mark.usefixtures("grace")
def test_a_dripping_body_is_a_408_and_the_app_never_sees_it_end(
    interface: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(measuring(interface), interface, loop, **PATIENCE) as served:
        client = served.connect()
        client.send(post(100_000))
        began = time.monotonic()
        assert drip(client, b"x", 1000).startswith(b"HTTP/1.1 408 ")
        assert 0.4 <= time.monotonic() - began < 5
        assert client.is_closed()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@LOOPS
@EVERY
@pytest.mark.usefixtures("grace")
def test_a_body_above_the_rate_may_take_its_time(interface: str, loop: str) -> None:
    with serving(measuring(interface), interface, loop, **PATIENCE) as served:
        client = served.connect()
        client.send(post(1000))
        assert drip(client, b"x" * 10, 100).endswith(b"\r\n\r\n1000")


@LOOPS
@pytest.mark.usefixtures("grace")
def test_what_was_sent_fast_pays_for_a_pause(loop: str) -> None:
    with serving(measure_asgi, loop=loop, **PATIENCE) as served:
        client = served.connect()
        client.send(post(10_001) + b"x" * 10_000)
        served.run(asyncio.sleep(1.2))
        client.send(b"x")
        assert client.read_response().body == b"10001"


@LOOPS
@pytest.mark.usefixtures("grace")
def test_without_a_minimum_rate_only_silence_ends_a_body(loop: str) -> None:
    with serving(measure_asgi, loop=loop, header_timeout_s=0.2, min_body_rate_bytes=0) as served:
        client = served.connect()
        client.send(post(50))
        assert drip(client, b"x", 50).endswith(b"\r\n\r\n50")


@LOOPS
@pytest.mark.usefixtures("grace")
def test_a_client_that_is_held_back_by_the_app_is_not_slow(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.serve.deadlines.BODY_STALL_S", 0.4)
    release = asyncio.Event()
    size = 20_000_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await release.wait()
        await measure_asgi(scope, receive, send)

    with serving(app, loop=loop, **PATIENCE) as served:
        client = served.connect()
        client.send(post(size))
        sent = client.send_while_taken(b"x" * 100_000, size)
        served.run(asyncio.sleep(1.0))
        served.call(release.set)
        client.send(b"x" * (size - sent))
        assert client.read_response().body == b"%d" % size


@LOOPS
@EVERY
def test_a_dripping_body_after_the_response_ends_the_connection(
    interface: str, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.serve.deadlines.LINGER_S", 0.3)

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"early"})

    if interface != "asgi":
        pytest.skip("a WSGI app is called when the body is complete")
    with serving(asgi, interface, loop, **PATIENCE) as served:
        client = served.connect()
        client.send(post(1000))
        assert client.read_response().body == b"early"
        assert drip(client, b"x", 500) == b""
        wait_until(lambda: served.service.counters.connections == 0)


@LOOPS
@EVERY
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
def test_a_client_that_takes_a_trickle_is_cut(
    interface: str, loop: str, family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        finally:
            closed.append("asgi")

    def wsgi(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 50_000
        finally:
            closed.append("wsgi")

    monkeypatch.setattr("prefork.serve.deadlines.TAKING_BYTES_PER_S", 1 << 40)
    app = asgi if interface == "asgi" else wsgi
    with serving(app, interface, loop, family=family, header_timeout_s=0.2) as served:
        monkeypatch.setattr(served.service, "stall_s", 0.5)
        client = served.connect(receive_buffer_bytes=4096)
        client.send(GET)
        end = time.monotonic() + DEADLINE_S
        while not closed:
            client.sock.recv(500)
            assert time.monotonic() < end
            served.run(asyncio.sleep(0.02))
        wait_until(lambda: served.service.counters.connections == 0)


@LOOPS
@EVERY
def test_a_client_that_takes_little_but_enough_is_never_cut(
    interface: str, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"x" * 6_000_000

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def wsgi(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [body]

    app = asgi if interface == "asgi" else wsgi
    with serving(app, interface, loop, header_timeout_s=0.2) as served:
        # What the kernel holds hides a slow client from the transport for seconds.
        monkeypatch.setattr(served.service, "stall_s", 0.5)
        for _ in range(5):
            client = served.connect(receive_buffer_bytes=16384)
            client.send(GET)
            wait_until(lambda: bool(served.service._connections))
            (connection,) = served.service._connections
            peer = connection.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
            read_at = [time.monotonic()]
            while len(read_at) < 100 and served.service.counters.connections:
                client.read_exactly(2048)
                served.run(asyncio.sleep(0.02))
                read_at.append(time.monotonic())
            if served.service.counters.connections:
                return
            # The kernel tells of what was read when it is half of its buffer. This client has to be slower than that
            # to be cut, and it is so only if it did not get the processor.
            spans = [after - before for before, after in zip(read_at, read_at[9:], strict=False)]
            assert spans
            assert max(spans) > 0.4
        pytest.fail("the machine stood still again and again")


class Slow:
    """An app that takes its time where its path says so; what became of it."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.release = threading.Event()

    def app(self, interface: str) -> Any:
        return self.asgi if interface == "asgi" else self.wsgi

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        path = scope["path"]
        try:
            if path == "/read":
                await measure_asgi(scope, receive, send)
            if path == "/before":
                await asyncio.sleep(60)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if path == "/head":
                await asyncio.sleep(60)
            if path == "/part":
                await send({"type": "http.response.body", "body": b"part", "more_body": True})
                await asyncio.sleep(60)
            await send({"type": "http.response.body", "body": b"whole"})
            if path == "/background":
                await asyncio.sleep(0.8)
                self.ended.append("done")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/before":
            assert self.release.wait(DEADLINE_S)
        start_response("200 OK", [])
        return self.parts() if path != "/" else [b"whole"]

    def parts(self) -> Iterator[bytes]:
        try:
            yield b"part"
            while not self.release.wait(0.02):
                yield b"more"
        finally:
            self.ended.append("closed")


@LOOPS
@pytest.mark.parametrize("path", ["/before", "/head"])
def test_an_asgi_request_that_takes_too_long_is_cancelled_and_answered(
    loop: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow()
    with serving(slow.asgi, loop=loop, request_timeout_s=0.3) as served:
        client = served.connect()
        assert client.ask(GET).body == b"whole"
        began = time.monotonic()
        client.send(GET.replace(b"/ ", path.encode() + b" "))
        if path == "/before":
            response = client.read_response()
            assert (response.status, response.get("connection")) == (504, "close")
            assert response.get("date") is not None
        else:  # its head was sent when it waited
            assert b"0\r\n\r\n" not in client.read_to_end()
        assert 0.3 <= time.monotonic() - began < 3
        assert client.is_closed()
        wait_until(lambda: slow.ended == ["cancelled"])
        assert served.ask(GET).body == b"whole"
    (record,) = [record for record in caplog.records if record.levelno > logging.INFO]
    assert f"request timed out method=GET path='{path}'" in record.getMessage()


@LOOPS
@EVERY
def test_a_response_that_takes_too_long_is_cut(interface: str, loop: str) -> None:
    slow = Slow()
    with serving(slow.app(interface), interface, loop, request_timeout_s=0.3) as served:
        client = served.connect()
        client.send(GET.replace(b"/ ", b"/part "))
        data = client.read_to_end()
        assert b"part" in data
        assert b"0\r\n\r\n" not in data
        wait_until(lambda: bool(slow.ended))
        assert served.ask(GET).body == b"whole"
        slow.release.set()


@LOOPS
def test_a_thread_that_takes_too_long_is_left_alone_and_its_client_answered(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow()
    with serving(slow.wsgi, "wsgi-threads", loop, request_timeout_s=0.3) as served:
        client = served.connect()
        assert client.ask(GET.replace(b"/ ", b"/before ")).status == 504
        assert served.ask(GET).body == b"whole"
        slow.release.set()
        wait_until(lambda: slow.ended == ["closed"])
        assert client.is_closed()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@LOOPS
def test_waiting_for_the_lane_counts(loop: str) -> None:
    slow = Slow()
    with serving(slow.wsgi, "wsgi", loop, request_timeout_s=1.0) as served:
        first, second = served.connect(), served.connect()
        first.send(GET.replace(b"/ ", b"/part "))
        first.read_until(b"part")
        second.send(GET)
        first.read_to_end()
        data = second.read_to_end()
        assert data.startswith((b"HTTP/1.1 504 ", b"HTTP/1.1 200 "))
        assert served.ask(GET).body == b"whole"


@LOOPS
def test_each_request_of_a_connection_has_its_own_time(loop: str) -> None:
    slow = Slow()
    with serving(slow.asgi, loop=loop, request_timeout_s=0.4) as served:
        client = served.connect()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert client.ask(GET).body == b"whole"


@LOOPS
def test_work_after_the_response_has_no_request_timeout(loop: str) -> None:
    slow = Slow()
    with serving(slow.asgi, loop=loop, request_timeout_s=0.2) as served:
        assert served.ask(GET.replace(b"/ ", b"/background ")).body == b"whole"
        wait_until(lambda: slow.ended == ["done"])


@LOOPS
@EVERY
def test_a_body_that_takes_too_long_is_the_clients_timeout(
    interface: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = measuring(interface)
    with serving(app, interface, loop, request_timeout_s=0.3) as served:
        client = served.connect()
        client.send(post(1_000_000))
        assert drip(client, b"x" * 100, 500).startswith(b"HTTP/1.1 408 ")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
