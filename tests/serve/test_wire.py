"""What a connection does with the bytes it gets, whatever the app: order, deadlines, splits, upgrades.

What is accepted and what is refused is in `test_rfc`, the limits are in `test_limits`.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import random
import socket
import struct
import threading
import time
from typing import Any

import pytest

from tests.serve.rfc_rows import CHUNKED, POST, H, head
from tests.serve.serving import GET, Client, serving, wait_until

pytestmark = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


class Recorder:
    """An ASGI app that writes down what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.seen.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok " + scope["path"].encode()})


@pytest.mark.parametrize("lines", [[], [H, H], [H, b"X: " + b"x" * 9000], [H, b"Expect: a-pony"]])
def test_a_head_request_that_is_refused_has_no_body(loop: str, lines: list[bytes]) -> None:
    with serving(Recorder(), loop=loop) as served:
        client = served.connect()
        client.send(head(b"GET / HTTP/1.1", H) + head(b"HEAD / HTTP/1.1", *lines))
        assert client.read_response().status == 200
        response = client.read_response(b"HEAD")
        assert response.status in (400, 417, 431)
        assert response.get("date") is not None
        assert response.get("server") == "prefork"
        assert response.get("content-length") not in (None, "0")
        assert client.is_closed()


def test_refusals_wait_for_the_answers_already_owed(loop: str) -> None:
    release = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(GET + head(b"GET /2 HTTP/1.1", H) + b"nonsense\r\n\r\n" + GET)
        wait_until(lambda: served.service.counters.in_flight == 2)
        served.call(release.set)
        assert [client.read_response().body for _ in range(2)] == [b"/", b"/2"]
        assert client.read_response().status == 400
        assert client.is_closed()


def test_bytes_after_a_request_that_closes_are_ignored(loop: str) -> None:
    app = Recorder()
    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(head(b"GET / HTTP/1.1", H, b"Connection: close") + GET)
        response = client.read_response()
        assert (response.status, response.get("connection")) == (200, "close")
        assert client.is_closed()
    assert len(app.seen) == 1


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.parametrize("field", [b"Connection: close", b"X: y"])
def test_a_connection_that_has_ended_leaves_nothing_to_the_collector(
    loop: str, interface: str, field: bytes
) -> None:
    """Which would look through everything that lives for it, and may be off."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        del environ
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def count() -> int:
        kinds = {"HttpConnection", "RequestReader", "AsgiExchange", "InlineExchange"}
        return sum(type(thing).__name__ in kinds for thing in gc.get_objects())

    gc.collect()
    before = count()
    gc.disable()
    try:
        with serving(asgi if interface == "asgi" else wsgi, interface, loop) as served:
            for _ in range(10):
                client = served.connect()
                client.send(head(b"GET / HTTP/1.1", H, field))
                assert client.read_response().body == b"ok"
                client.close()
            wait_until(lambda: served.service.counters.connections == 0)
            wait_until(lambda: count() <= before + 3, "the last one may still be in a frame of the loop's")
    finally:
        gc.enable()


def test_what_comes_while_a_request_that_closes_is_answered_is_ignored_too(loop: str) -> None:
    begun, release = threading.Event(), asyncio.Event()
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        seen.append(scope["path"])
        begun.set()
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(head(b"GET / HTTP/1.1", H, b"Connection: close"))
        assert begun.wait(10)
        client.send(GET)
        wait_until(lambda: served.service.tally.bytes_in > len(GET) * 2)
        assert served.service.counters.in_flight == 1
        served.call(release.set)
        assert client.read_response().get("connection") == "close"
        assert client.is_closed()
    assert seen == ["/"]


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.parametrize("says_close", [False, True])
def test_a_connection_that_ends_amid_a_read_parses_no_more_of_it(
    loop: str, interface: str, *, says_close: bool
) -> None:
    """The end of a body, which ends the connection, and another request behind it, in one read."""
    seen: list[str] = []
    fields = [(b"content-length", b"2"), *([(b"connection", b"close")] if says_close else [])]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"ok"})

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ["PATH_INFO"])
        start_response("200 OK", [(name.decode(), value.decode()) for name, value in fields])
        return [b"ok"]

    with serving(asgi if interface == "asgi" else wsgi, interface, loop) as served:
        client = served.connect()
        # More of a body that nobody reads than is read to keep a connection.
        client.send(head(POST, H, CHUNKED) + b"1\r\na\r\n")
        wait_until(lambda: bool(served.service.counters.in_flight or seen))
        feed(served, client, b"10400\r\n" + b"x" * 0x10400 + b"\r\n0\r\n\r\n" + head(b"GET /2 HTTP/1.1", H))
        assert client.read_response().status == 200
        if interface == "asgi" or says_close:
            assert client.is_closed()
            assert seen == ["/"]
        else:
            assert client.read_response().status == 200  # a WSGI app's body is read for it
            assert seen == ["/", "/2"]


@pytest.mark.parametrize("interface", ["asgi", "wsgi", "wsgi-threads"])
def test_a_client_that_ends_amid_its_second_request_is_let_go(loop: str, interface: str) -> None:
    """Its end came while the first was being answered: nothing more can come for the second."""
    release = threading.Event()

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        while (await receive())["type"] != "http.disconnect" and scope["path"] == "/2":
            pass
        await asyncio.to_thread(release.wait)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def wsgi(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"o"
        while not release.is_set():
            yield b"-"  # gives the loop its turn
        yield b"k"

    with serving(asgi if interface == "asgi" else wsgi, interface, loop) as served:
        client = served.connect()
        client.send(GET + head(b"POST /2 HTTP/1.1", H, b"Content-Length: 5") + b"abc")
        wait_until(lambda: served.service.counters.in_flight == 2)
        client.sock.shutdown(socket.SHUT_WR)
        (connection,) = served.service._connections
        wait_until(lambda: bool(connection._eof))
        release.set()
        response = client.read_response()
        assert (response.is_complete, response.body.replace(b"-", b"")) == (True, b"ok")
        assert client.is_closed()


def test_a_reset_that_overtakes_our_end_is_no_error(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """The socket is no longer connected when its side is shut: shutdown(2) says ENOTCONN."""
    with serving(Recorder(), loop=loop) as served:
        client = served.connect()
        client.ask(GET)
        (connection,) = served.service._connections

        def end() -> None:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
            connection.end(linger=True)

        served.call(end)
        wait_until(lambda: served.service.counters.connections == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_body_behind_many_requests_is_read_on(loop: str) -> None:
    """More requests in one read than are parsed ahead, the last of them with its body in the next piece."""
    app = Recorder()
    one = head(b"GET /" + b"a" * 350 + b" HTTP/1.1", H)
    count = 8000 // len(one)
    body = b"x" * 9000
    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(GET)
        client.read_response()
        last = head(b"POST /last HTTP/1.1", H, b"Content-Length: %d" % len(body)) + body
        feed(served, client, one * count + last + GET)
        assert [client.read_response().status for _ in range(count + 2)] == [200] * (count + 2)
    assert app.seen[-2:] == [("POST", "/last", body), ("GET", "/", b"")]


def test_an_upgrade_that_we_do_not_grant_is_a_plain_request(loop: str) -> None:
    app = Recorder()
    upgrade = (H, b"Connection: Upgrade", b"Upgrade: h2c")
    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(head(b"GET /1 HTTP/1.1", *upgrade) + head(b"GET /2 HTTP/1.1", *upgrade))
        assert [client.read_response().body for _ in range(2)] == [b"ok /1", b"ok /2"]
        body = head(b"GET /smuggled HTTP/1.1", H)
        client.send(head(b"POST /3 HTTP/1.1", *upgrade, b"Content-Length: %d" % len(body)) + body + GET)
        assert client.read_response().body == b"ok /3"
        assert client.is_closed()
        client = served.connect()
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        client.send(head(b"POST /4 HTTP/1.1", *upgrade, CHUNKED) + chunks + GET)
        assert client.read_response().body == b"ok /4"
        assert client.is_closed()
    assert app.seen == [("GET", "/1", b""), ("GET", "/2", b""), ("POST", "/3", body), ("POST", "/4", body)]


STREAM = (
    head(b"GET /a?b=c HTTP/1.1", H, b"X: y")
    + head(b"POST /len HTTP/1.1", H, b"Content-Length: 11")
    + b"hello world"
    + head(b"POST /chunks HTTP/1.1", H, CHUNKED)
    + b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nT: z\r\n\r\n"
    + head(b"POST /up HTTP/1.1", H, b"Connection: keep-alive", b"Content-Length: 0")
    + b"\r\n"
    + head(b"GET /last HTTP/1.1", H)
)


@pytest.mark.parametrize("seed", range(12))
def test_where_the_stream_is_split_changes_nothing(loop: str, seed: int) -> None:
    chance = random.Random(seed)
    cuts = range(1, len(STREAM)) if seed == 0 else sorted(chance.sample(range(1, len(STREAM)), seed))
    app = Recorder()
    with serving(app, loop=loop) as served:
        client = served.connect()
        edges = [0, *cuts, len(STREAM)]
        for start, end in itertools.pairwise(edges):
            # One data_received each: call it as the transport would.
            feed(served, client, STREAM[start:end])
        bodies = [client.read_response().body for _ in range(5)]
    assert bodies == [b"ok /a", b"ok /len", b"ok /chunks", b"ok /up", b"ok /last"]
    assert app.seen == [
        ("GET", "/a", b""),
        ("POST", "/len", b"hello world"),
        ("POST", "/chunks", b"hello world"),
        ("POST", "/up", b""),
        ("GET", "/last", b""),
    ]


def feed(served: Any, client: Client, data: bytes) -> None:
    wait_until(lambda: bool(served.service._connections))
    (connection,) = served.service._connections
    served.call(lambda: connection.data_received(data))


def test_a_silent_connection_is_closed_quietly(loop: str) -> None:
    with serving(Recorder(), loop=loop, header_timeout_s=0.2) as served:
        began = time.monotonic()
        assert served.connect().is_closed()
        assert 0.2 <= time.monotonic() - began < 2


@pytest.mark.parametrize("begin", [b"G", b"GET / HTTP/1.1\r\nHost:"])
@pytest.mark.parametrize("first", [b"", GET])
def test_half_a_head_is_a_408(loop: str, begin: bytes, first: bytes) -> None:
    with serving(Recorder(), loop=loop, header_timeout_s=0.2, keep_alive_s=9) as served:
        client = served.connect()
        if first:
            client.ask(first)
        client.send(begin)
        assert client.read_response().status == 408
        assert client.is_closed()


def test_dripping_a_head_does_not_buy_time(loop: str) -> None:
    with serving(Recorder(), loop=loop, header_timeout_s=0.2) as served:
        client = served.connect()
        client.send(b"GET / HTTP/1.1\r\nX: ")
        client.sock.settimeout(0.02)
        began = time.monotonic()
        data = b""
        while not data and time.monotonic() - began < 5:
            try:
                data = client.sock.recv(1000)
            except TimeoutError:
                client.send(b"x")
        assert data.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_a_body_that_does_not_come_is_a_408(
    loop: str, interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.serve.deadlines.BODY_STALL_S", 0.2)
    app = Recorder()
    with serving(app, interface, loop, header_timeout_s=0.2, keep_alive_s=0.2) as served:
        client = served.connect()
        client.send(head(POST, H, b"Content-Length: 5") + b"hell")
        assert client.read_response().status == 408
        assert client.is_closed()
    assert app.seen == []


def test_a_full_disk_is_our_fault(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prefork.serve.spool.tempfile.TemporaryFile", fail)
    with serving(Recorder(), "wsgi", loop) as served:
        client = served.connect()
        client.send(head(POST, H, b"Content-Length: 300000") + b"x" * 300000)
        assert client.read_response().status == 500
        assert client.is_closed()


def test_an_idle_connection_is_closed_after_its_keep_alive_time(loop: str) -> None:
    with serving(Recorder(), loop=loop, keep_alive_s=0.2) as served:
        client = served.connect()
        began = time.monotonic()  # the answer may be there long before we get to read it
        assert client.ask(GET).status == 200
        assert client.is_closed()
        assert 0.15 <= time.monotonic() - began < 2


def test_no_keep_alive_time_means_no_keep_alive(loop: str) -> None:
    with serving(Recorder(), loop=loop, keep_alive_s=0) as served:
        client = served.connect()
        assert client.ask(GET).get("connection") == "close"
        assert client.is_closed()


def test_bad_bytes_log_nothing_but_a_rare_debug_line(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "prefork")
    with serving(Recorder(), loop=loop) as served:
        caplog.clear()
        for _ in range(50):
            client = served.connect()
            client.send(b"\x1b[31m\r\nnonsense\r\n\r\n")
            client.read_to_end()
    ours = [record for record in caplog.records if record.name.startswith("prefork")]
    assert 1 <= len(ours) <= 3
    assert {record.levelno for record in ours} == {logging.DEBUG}
    assert "\x1b" not in ours[0].getMessage()
