"""The limits, in every way they can be passed: at once, piece by piece, without end; and what they cost in memory."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.serve.rfc_rows import CHUNKED, POST, H, chunks, get, head
from tests.serve.serving import GET, Client, Served, serving
from tests.serve.test_wire import Recorder

LIMITS: dict[str, Any] = {
    "limit_request_line_bytes": 200,
    "limit_request_fields": 10,
    "limit_request_field_size_bytes": 200,
    "limit_request_body_bytes": 1000,
}
NO_LIMITS: dict[str, Any] = dict.fromkeys(LIMITS, 0)
LAST = b"3\r\nabc\r\n0\r\n"

PASSED = {
    "line": (414, get(b"/" + b"a" * 300)),
    "line without end": (414, b"GET /" + b"a" * 300),
    "long line without end": (414, b"GET /" + b"a" * 300_000),
    "field": (431, head(b"GET / HTTP/1.1", H, b"X: " + b"a" * 300)),
    "name": (431, head(b"GET / HTTP/1.1", H, b"X" * 300 + b": a")),
    "fields": (431, head(b"GET / HTTP/1.1", H, *[b"X: a"] * 20)),
    "fields without end": (431, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 100),
    "field without end": (431, b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000),
    "name without end": (431, b"GET / HTTP/1.1\r\n" + b"X" * 300_000),
    "white space without end": (431, b"GET / HTTP/1.1\r\nX:" + b" " * 300_000),
    "declared body": (413, head(POST, H, b"Content-Length: 1001")),
    "chunked body": (413, chunks(b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n")),
    "one chunk": (413, chunks(b"3e9\r\n" + b"x" * 1001)),
    "size without end": (400, chunks(b"0" * 300_000)),
    "extension without end": (400, chunks(b"3;" + b"a" * 300_000)),
    "value of an extension without end": (400, chunks(b'3;a="' + b"a" * 300_000)),
    "an extension at every chunk": (400, chunks((b"1;" + b"a" * 500 + b"\r\na\r\n") * 600)),
    "trailers": (431, chunks(LAST + b"X: y\r\n" * 11 + b"\r\n")),
    "trailers without end": (431, chunks(LAST + b"X: y\r\n" * 50_000)),
    "trailer": (431, chunks(LAST + b"X: " + b"y" * 300 + b"\r\n\r\n")),
    "trailer without end": (400, chunks(LAST + b"X: " + b"y" * 300_000)),
    "empty lines without end": (400, b"\r\n" * 200_000),
}
EXACT = {
    "line and fields": head(b"GET /" + b"a" * 186 + b" HTTP/1.1", H, *[b"X: " + b"a" * 197] * 9),
    "body": head(POST, H, b"Content-Length: 1000") + b"x" * 1000,
    "chunked body": chunks(b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n"),
    "smallest chunks": chunks(b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"),
    "small chunks with extensions": chunks(b"1;abc=defgh\r\nx\r\n" * 1000 + b"0\r\n\r\n"),
    "trailers": chunks(LAST + (b"X: " + b"y" * 197 + b"\r\n") * 10 + b"\r\n"),
    "empty lines": b"\r\n" * 16 + GET,
}
BIG = {
    "line": get(b"/" + b"a" * 50_000),
    "fields": head(b"GET / HTTP/1.1", H, *[b"X: y"] * 5000),
    "field": head(b"GET / HTTP/1.1", H, b"X: " + b"a" * 200_000),
    "body": head(POST, H, b"Content-Length: 3000000") + b"x" * 3_000_000,
    "trailers": chunks(LAST + b"X: y\r\n" * 5000 + b"\r\n"),
}


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def limited(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(Recorder(), loop=request.param, **LIMITS) as served:
        yield served


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def unlimited(request: pytest.FixtureRequest) -> Iterator[Served]:
    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"ok"]

    app = Recorder() if request.param == "asgi" else wsgi
    with serving(app, request.param, **NO_LIMITS) as served:
        yield served


@pytest.mark.parametrize("name", PASSED)
@pytest.mark.parametrize("step", [0, 1], ids=["at once", "byte by byte"])
def test_a_limit_is_kept(limited: Served, name: str, step: int) -> None:
    status, data = PASSED[name]
    client = limited.connect()
    if step:
        drip(limited, client, data[:90_000])
    else:
        send_all_it_takes(client, data)
    response = client.read_response()
    assert (response.status, response.get("connection")) == (status, "close")
    assert client.is_closed()
    client.close()


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("step", [0, 1], ids=["at once", "byte by byte"])
def test_what_is_just_within_the_limits_is_served(limited: Served, name: str, step: int) -> None:
    client = limited.connect()
    if step:
        drip(limited, client, EXACT[name])
    else:
        client.send(EXACT[name])
    assert client.read_response().status == 200
    assert client.ask(GET).status == 200
    client.close()


@pytest.mark.parametrize("name", BIG)
def test_0_is_no_limit(unlimited: Served, name: str) -> None:
    client = unlimited.connect()
    assert client.ask(BIG[name]).status == 200
    assert client.ask(GET).status == 200
    client.close()


@pytest.mark.parametrize("end", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_between_requests_are_forgotten(limited: Served, end: bytes) -> None:
    """Old clients send an empty line after a body (RFC 9112 §2.2): as often as they like."""
    client = limited.connect()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    post = head(POST, H, b"Content-Length: 3") + b"abc"
    for _ in range(100):
        assert client.ask(post).status == 200
        client.send(end)
    client.close()


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_a_body_in_reads_of_its_own_is_no_empty_line(interface: str) -> None:
    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    app = Recorder() if interface == "asgi" else wsgi
    with serving(app, interface) as served:
        client = served.connect()
        for _ in range(3):
            drip(served, client, head(POST, H, b"Content-Length: 5000"), b"\r\n" * 2500, step=500)
            assert client.read_response().status == 200
            drip(
                served,
                client,
                head(POST, H, CHUNKED),
                b"1388\r\n",
                b"\r\n" * 2500,
                b"\r\n0\r\n\r\n",
                step=500,
            )
            assert client.read_response().status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET /",
        chunks(b"3;"),
        chunks(b"3\r\nabc\r\n0\r\nX: "),
    ],
)
def test_ten_megabytes_without_end_cost_no_memory(data: bytes) -> None:
    process = psutil.Process()
    with serving(Recorder()) as served:
        for _ in range(2):  # the first warms up what stays
            before = process.memory_info().rss
            client = served.connect()
            client.send(data)
            filler = b"X-%d: y\r\n" * 8000 if data.endswith(b"a\r\n") else b"a" * 65536
            for _ in range(160):
                try:
                    client.send(filler)
                except ConnectionError:
                    break
            assert client.read_to_end()[9:12] in {b"414", b"431", b"400", b""}
            client.close()
        assert process.memory_info().rss - before < 4 << 20


def send_all_it_takes(client: Client, data: bytes) -> None:
    """Send from a thread: the server may answer, and stop to listen, before it has all."""

    def send() -> None:
        with suppress(OSError):
            client.send(data)

    threading.Thread(target=send, daemon=True).start()


def drip(served: Served, client: Client, *parts: bytes, step: int = 1) -> None:
    """Hand `parts` to the client's connection in reads of `step` bytes, and each part in reads of its own."""
    port = client.sock.getsockname()[1]
    end = time.monotonic() + 5
    found: list[Any] = []
    while not found:
        found = [c for c in tuple(served.service._connections) if c.client and c.client[1] == port]
        assert time.monotonic() < end

    def feed() -> None:
        for part in parts:
            for at in range(0, len(part), step):
                found[0].data_received(part[at : at + step])

    served.call(feed)
