"""What a connection does with the bytes it gets, whatever the app: refusals, limits, deadlines, splits."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from typing import Any

import pytest

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


def head(*lines: bytes) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


POST = b"POST / HTTP/1.1"
H = b"Host: test"
CHUNKED = b"Transfer-Encoding: chunked"

REFUSED = {
    "no host": (400, head(b"GET / HTTP/1.1")),
    "two hosts": (400, head(b"GET / HTTP/1.1", H, H)),
    "bad host": (400, head(b"GET / HTTP/1.1", b"Host: a b")),
    "host with path": (400, head(b"GET / HTTP/1.1", b"Host: a/b")),
    "host with user": (400, head(b"GET / HTTP/1.1", b"Host: u@a")),
    "host with bad port": (400, head(b"GET / HTTP/1.1", b"Host: a:b")),
    "bad host in 1.0": (400, head(b"GET / HTTP/1.0", b"Host: a b")),
    "length and coding": (400, head(POST, H, b"Content-Length: 3", CHUNKED) + b"0\r\n\r\n"),
    "coding and length": (400, head(POST, H, CHUNKED, b"Content-Length: 3") + b"0\r\n\r\n"),
    "two lengths": (400, head(POST, H, b"Content-Length: 3", b"Content-Length: 4") + b"abc"),
    "listed length": (400, head(POST, H, b"Content-Length: 3, 3") + b"abc"),
    "signed length": (400, head(POST, H, b"Content-Length: +3") + b"abc"),
    "negative length": (400, head(POST, H, b"Content-Length: -3") + b"abc"),
    "hex length": (400, head(POST, H, b"Content-Length: 0x3") + b"abc"),
    "empty length": (400, head(POST, H, b"Content-Length: ") + b"abc"),
    "huge length": (400, head(POST, H, b"Content-Length: " + b"9" * 30)),
    "unknown coding": (501, head(POST, H, b"Transfer-Encoding: gzip")),
    "coding before chunked": (501, head(POST, H, b"Transfer-Encoding: gzip, chunked")),
    "coding in two fields": (501, head(POST, H, b"Transfer-Encoding: gzip", CHUNKED)),
    "chunked not last": (400, head(POST, H, b"Transfer-Encoding: chunked, gzip")),
    "chunked twice": (400, head(POST, H, CHUNKED, CHUNKED)),
    "coding with vertical tab": (400, head(POST, H, b"Transfer-Encoding: \x0bchunked")),
    "coding in 1.0": (400, head(b"POST / HTTP/1.0", H, CHUNKED) + b"0\r\n\r\n"),
    "bare line feeds": (400, b"GET / HTTP/1.1\nHost: test\n\n"),
    "bare line feed in a field": (400, b"GET / HTTP/1.1\r\nHost: test\nX: y\r\n\r\n"),
    "bare carriage return": (400, b"GET / HTTP/1.1\r\nHost: te\rst\r\n\r\n"),
    "nul in a value": (400, head(b"GET / HTTP/1.1", H, b"X: a\0b")),
    "control in a value": (400, head(b"GET / HTTP/1.1", H, b"X: a\x01b")),
    "space before the colon": (400, head(b"GET / HTTP/1.1", H, b"X : a")),
    "folded line": (400, head(b"GET / HTTP/1.1", H, b"X: a", b" b")),
    "space before the first field": (400, head(b"GET / HTTP/1.1", b" X: a", H)),
    "no name": (400, head(b"GET / HTTP/1.1", H, b": a")),
    "no colon": (400, head(b"GET / HTTP/1.1", H, b"nonsense")),
    "bad name": (400, head(b"GET / HTTP/1.1", H, b"X\xe9: a")),
    "unknown method": (400, head(b"NOPE / HTTP/1.1", H)),
    "small method": (400, head(b"get / HTTP/1.1", H)),
    "bad version": (400, head(b"GET / HTTP/1.9", H)),
    "version 2": (505, head(b"GET / HTTP/2.0", H)),
    "version 0.9": (505, b"GET /\r\n\r\n"),
    "fragment": (400, head(b"GET /a#b HTTP/1.1", H)),
    "raw bytes in the target": (400, head(b"GET /\xc3\xa9 HTTP/1.1", H)),
    "no slash": (400, head(b"GET nothing HTTP/1.1", H)),
    "star": (400, head(b"GET * HTTP/1.1", H)),
    "bad authority": (400, head(b"GET http://a@b/ HTTP/1.1", H)),
    "connect": (501, head(b"CONNECT a:443 HTTP/1.1", H)),
    "not http": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
}

BROKEN_BODIES = {
    "size": b"xyz\r\nabc\r\n0\r\n\r\n",
    "signed size": b"+3\r\nabc\r\n0\r\n\r\n",
    "hex prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "huge size": b"fffffffffffffffff\r\n",
    "space after size": b"3 \r\nabc\r\n0\r\n\r\n",
    "bare line feed": b"3\nabc\r\n0\r\n\r\n",
    "too long": b"3\r\nabcd\r\n0\r\n\r\n",
    "bad extension": b'3;a="\n"\r\nabc\r\n0\r\n\r\n',
    "bad trailer": b"3\r\nabc\r\n0\r\nX : y\r\n\r\n",
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_and_nothing_after_it_is_parsed(loop: str, case: str) -> None:
    status, data = REFUSED[case]
    app = Recorder()
    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(head(b"GET /first HTTP/1.1", H) + data + head(b"GET /smuggled HTTP/1.1", H))
        assert client.read_response().body == b"ok /first"
        response = client.read_response()
        assert (response.status, response.get("connection")) == (status, "close")
        assert response.get("content-length") == str(len(response.body))
        assert client.is_closed()
        assert served.ask(GET).status == 200
    assert [path for _, path, _ in app.seen] == ["/first", "/"]


@pytest.mark.parametrize("case", BROKEN_BODIES)
@pytest.mark.parametrize("interface", ["asgi", "wsgi", "wsgi-threads"])
def test_a_broken_body_never_looks_complete_to_the_app(loop: str, case: str, interface: str) -> None:
    recorder = Recorder()

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        recorder.seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["wsgi.input"].read()))
        start_response("200 OK", [])
        return [b"ok"]

    with serving(recorder if interface == "asgi" else wsgi, interface, loop) as served:
        client = served.connect()
        client.send(head(POST, H, CHUNKED) + BROKEN_BODIES[case] + head(b"GET /smuggled HTTP/1.1", H))
        assert client.read_response().status == 400
        assert client.is_closed()
    assert recorder.seen == []


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (414, head(b"GET /" + b"a" * 300 + b" HTTP/1.1", H)),
        (414, b"GET /" + b"a" * 300),
        (414, b"GET /" + b"a" * 300_000),
        (431, head(b"GET / HTTP/1.1", H, b"X: " + b"a" * 300)),
        (431, head(b"GET / HTTP/1.1", H, *[b"X: a"] * 20)),
        (431, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 100),
        (431, b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000),
        (413, head(POST, H, b"Content-Length: 1001")),
        (413, head(POST, H, CHUNKED) + b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n"),
    ],
)
def test_limits_are_kept(loop: str, status: int, data: bytes) -> None:
    limits: dict[str, Any] = {
        "limit_request_line_bytes": 200,
        "limit_request_fields": 10,
        "limit_request_field_size_bytes": 200,
        "limit_request_body_bytes": 1000,
    }
    app = Recorder()
    with serving(app, loop=loop, **limits) as served:
        client = served.connect()
        client.send(data)
        assert client.read_response().status == status
        assert client.is_closed()
        exact = head(b"GET /" + b"a" * 186 + b" HTTP/1.1", H, *[b"X: " + b"a" * 197] * 9)
        assert served.ask(exact).status == 200
        assert served.ask(head(POST, H, b"Content-Length: 1000") + b"x" * 1000).status == 200
    assert len(app.seen) == 2


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
        assert client.ask(GET).status == 200
        began = time.monotonic()
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
