"""ASGI over real sockets: the scope, receive and send, and what a failing app leaves on the wire."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
from contextlib import suppress
from typing import Any

import pytest

from tests.serve.serving import GET, HOST, Served, serving, wait_until

Scope = dict[str, Any]

LOOPS = ("uvloop", "asyncio")
pytestmark = pytest.mark.parametrize("loop", LOOPS)


def respond(status: int = 200, *headers: tuple[bytes, bytes], body: bytes = b"ok") -> Any:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def http_only(handler: Any) -> Any:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await handler(scope, receive, send)

    return app


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message: dict[str, Any] = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def start(send: Any, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def say(send: Any, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def test_a_response_has_its_length_one_date_and_one_server(loop: str) -> None:
    with serving(respond(200, (b"content-type", b"text/plain")), loop=loop) as served:
        response = served.ask(GET)
    assert (response.status, response.reason, response.body) == (200, "OK", b"ok")
    assert response.get("content-type") == "text/plain"
    assert response.get("content-length") == "2"
    assert response.get("server") == "prefork"
    assert response.get("connection") is None
    date = response.get("date")
    assert date is not None
    assert date.endswith(" GMT")


def test_the_apps_own_date_and_server_win(loop: str) -> None:
    with serving(respond(200, (b"Date", b"then"), (b"server", b"mine")), loop=loop) as served:
        response = served.ask(GET)
    assert (response.get("date"), response.get("server")) == ("then", "mine")


def test_date_and_server_can_be_turned_off(loop: str) -> None:
    with serving(respond(), loop=loop, date_header=False, server_header=False) as served:
        response = served.ask(GET)
    assert (response.get("date"), response.get("server")) == (None, None)


def test_the_scope_is_exact(loop: str) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = 7
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.append(scope)
        await start(send)
        await say(send, b"")

    with serving(app, loop=loop, root_path="/api") as served:
        client = served.connect()
        own = client.sock.getsockname()
        client.ask(b"GET /caf%C3%A9/%2f?q=%20&r HTTP/1.1\r\nHost: test\r\nX-Two:  b \r\nx-two: c\r\n\r\n")
        client.ask(b"OPTIONS * HTTP/1.0\r\n\r\n")
        port = served.listener.getsockname()[1]
    first, second = seen
    assert first == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "server": ("127.0.0.1", port),
        "client": own,
        "scheme": "http",
        "method": "GET",
        "root_path": "/api",
        "path": "/api/café//",
        "raw_path": b"/api/caf%C3%A9/%2f",
        "query_string": b"q=%20&r",
        "headers": [(b"host", b"test"), (b"x-two", b"b"), (b"x-two", b"c")],
        "state": {"pool": 7},
        "extensions": {
            "http.response.pathsend": {},
            "http.response.trailers": {},
            "http.response.early_hint": {},
        },
    }
    assert type(first["client"][1]) is int
    assert (second["http_version"], second["method"], second["headers"]) == ("1.0", "OPTIONS", [])
    assert first["state"] is not second["state"]


def test_a_unix_socket_has_a_path_and_no_client(loop: str) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope)
        await start(send)
        await say(send, b"")

    with serving(http_only(app), loop=loop, family=socket.AF_UNIX) as served:
        served.ask(GET)
    assert seen[0]["client"] is None
    assert seen[0]["server"][1] is None


def test_the_absolute_form_names_the_host(loop: str) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope)
        await start(send)
        await say(send, b"")

    with serving(http_only(app), loop=loop) as served:
        served.ask(b"GET http://else:81/x?y HTTP/1.1\r\nHost: test\r\n\r\n")
    assert (seen[0]["path"], seen[0]["query_string"]) == ("/x", b"y")
    assert seen[0]["headers"] == [(b"host", b"else:81")]


def test_bodies_come_with_a_length_and_in_chunks(loop: str) -> None:
    async def echo(scope: Scope, receive: Any, send: Any) -> None:
        body = await read_body(receive)
        await start(send)
        await say(send, body)

    with serving(http_only(echo), loop=loop) as served:
        client = served.connect()
        assert client.ask(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello").body == b"hello"
        chunked = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        chunks = b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
        assert client.ask(chunked + chunks).body == b"hello"
        assert client.ask(GET).body == b""


def test_a_response_of_unknown_length_is_chunked(loop: str) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await start(send)
        await say(send, b"a", more=True)
        await say(send, b"", more=True)
        await asyncio.sleep(0)
        await say(send, b"b" * 70000, more=True)
        await say(send, b"")

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        for _ in range(2):
            response = client.ask(GET)
            assert response.get("transfer-encoding") == "chunked"
            assert response.body == b"a" + b"b" * 70000
        old = served.connect().ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert old.get("transfer-encoding") is None
        assert old.get("connection") == "close"
        assert old.body == b"a" + b"b" * 70000


def test_http_1_0_closes_unless_it_asks_not_to(loop: str) -> None:
    with serving(respond(), loop=loop) as served:
        client = served.connect()
        kept = client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (kept.get("connection"), kept.body) == ("keep-alive", b"ok")
        closed = client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert (closed.get("connection"), closed.body) == ("close", b"ok")
        assert client.is_closed()


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", 200, "5"), ("GET", 304, None), ("GET", 204, None), ("HEAD", 304, None), ("HEAD", 204, None)],
)
def test_what_has_no_body_carries_none(loop: str, method: str, status: int, length: str | None) -> None:
    with serving(respond(status, body=b"drops"), loop=loop) as served:
        client = served.connect()
        for _ in range(2):
            response = client.ask(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert (response.status, response.body) == (status, b"")
            assert response.get("content-length") == length
            assert response.get("transfer-encoding") is None
        client.send(GET.replace(b"Host", b"Connection: close\r\nHost"))
        client.read_response(b"HEAD")
        if method == "GET":
            assert client.is_closed()


def test_pipelined_requests_are_answered_in_order(loop: str) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["path"].endswith("3"):
            await asyncio.sleep(0)
        await start(send)
        await say(send, scope["path"].encode())

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        count = 1000
        client.send(b"".join(b"GET /%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in range(count)))
        assert [client.read_response().body for _ in range(count)] == [b"/%d" % n for n in range(count)]


def test_reading_pauses_while_requests_wait(loop: str) -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await release.wait()
        await start(send)
        await say(send, b"")

    with serving(http_only(app), loop=loop, family=socket.AF_UNIX) as served:
        client = served.connect()
        sent = client.send_while_taken(GET * 1000, 1 << 30)
        assert served.service.counters.in_flight < 600
        served.call(release.set)
        for _ in range(sent // len(GET)):
            assert client.read_response().status == 200


@pytest.mark.parametrize("says_length", [True, False])
def test_continue_is_sent_only_when_the_app_reads(loop: str, says_length: bool) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        body = await read_body(receive) if scope["path"] == "/read" else b"unread"
        await start(send, *([(b"content-length", b"%d" % len(body))] if says_length else []))
        await say(send, body)

    head = b" HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        client.send(b"POST /read" + head)
        assert client.read_response().status == 100
        assert client.ask(b"body").body == b"body"
        response = client.ask(b"POST /ignore" + head)
        assert (response.status, response.body, response.get("connection")) == (200, b"unread", "close")
        assert client.is_closed()


def test_a_small_unread_body_is_dropped_and_a_large_one_closes(loop: str) -> None:
    with serving(respond(), loop=loop) as served:
        client = served.connect()
        for _ in range(2):
            client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n")
            assert client.read_response().status == 200
            client.send(b"x" * 1000)
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n")
        assert client.read_response().status == 200
        assert client.is_closed()


def test_disconnect_is_told_and_send_raises_os_error_after_it(loop: str) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(await receive())
        seen.append(await receive())
        try:
            await start(send)
            await say(send, b"late")
        except OSError as exc:
            seen.append(exc)

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        client.send(GET)
        wait_until(lambda: len(seen) == 1)
        client.close()
        wait_until(lambda: len(seen) == 3)
    assert [message["type"] for message in seen[:2]] == ["http.request", "http.disconnect"]
    assert isinstance(seen[2], OSError)


def test_an_app_that_streams_to_nobody_is_told(loop: str) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        try:
            await start(send)
            while True:
                await say(send, b"tick", more=True)
                await asyncio.sleep(0.001)
        except OSError as exc:
            seen.append(exc)
            raise

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        client.send(GET)
        client.read_until(b"tick")
        client.close()
        wait_until(lambda: bool(seen))


def test_a_client_that_half_closes_is_answered(loop: str) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        await start(send)
        await say(send, b"all the same")

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        client.send(GET)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.read_response().body == b"all the same"
        assert client.is_closed()


def test_waits_that_were_given_up_leave_nothing_behind(loop: str) -> None:
    left: list[int] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        for _ in range(3):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 0.001)
        left.append(len(receive.__self__._waiters))  # nothing else shows it
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with serving(app, loop=loop) as served:
        assert served.ask(GET).status == 204
    assert left == [0]


def test_receive_after_the_response_is_a_disconnect(loop: str) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await start(send)
        await say(send, b"")
        seen.append(await receive())

    with serving(http_only(app), loop=loop) as served:
        assert served.ask(GET).status == 200
        wait_until(lambda: bool(seen))
    assert seen == [{"type": "http.disconnect"}]


def test_a_request_is_served_while_the_last_ones_background_work_goes_on(loop: str) -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await start(send)
        await say(send, scope["path"].encode())
        if scope["path"] == "/first":
            await release.wait()

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        assert client.ask(GET.replace(b"/ ", b"/first ")).body == b"/first"
        assert client.ask(GET.replace(b"/ ", b"/second ")).body == b"/second"
        served.call(release.set)


def test_a_kept_send_never_reaches_another_response(loop: str) -> None:
    kept: list[Any] = []
    errors: list[BaseException] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        for old in kept:
            try:
                await start(old, status=500)
            except RuntimeError as exc:
                errors.append(exc)
        kept.append(send)
        await start(send)
        await say(send, b"mine")

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        assert [client.ask(GET).body for _ in range(3)] == [b"mine"] * 3
    assert len(errors) == 3


def test_what_an_app_does_to_its_scope_is_not_told_to_the_next_request(loop: str) -> None:
    seen: list[Scope] = []

    async def handler(scope: Scope, receive: Any, send: Any) -> None:
        seen.append({key: value.copy() if hasattr(value, "copy") else value for key, value in scope.items()})
        headers = [(b"content-type", b"text/plain")]
        await start(send, *headers)
        headers.append((b"x-not", b"sent"))
        for owned in ("asgi", "extensions", "state", "headers"):
            scope[owned].clear()
        scope.clear()
        scope["path"] = "/spoilt"
        await say(send, b"ok")

    with serving(http_only(handler), loop=loop) as served:
        client = served.connect()
        old = GET.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n")
        post = b"POST /b%20c?d HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
        reads = (GET, GET, GET.replace(b"GET", b"PUT"), post, GET.replace(b"/ ", b"/e?f "), old, post)
        for data in reads * 2:
            assert client.ask(data).get("x-not") is None
    told = [(scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) for scope in seen[:7]]
    get, posted = ("GET", "/", b"/", b""), ("POST", "/b c", b"/b%20c", b"d")
    assert told == [get, get, ("PUT", "/", b"/", b""), posted, ("GET", "/e", b"/e", b"f"), get, posted]
    assert [scope["http_version"] for scope in seen[:7]] == ["1.1"] * 5 + ["1.0", "1.1"]
    assert seen[:7] == seen[7:]
    assert all(scope["asgi"] and scope["extensions"] and scope["headers"] for scope in seen)


def test_context_variables_do_not_leak_between_requests(loop: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(variable.get("unset"))
        variable.set("set")
        if scope["path"] == "/wait":
            await asyncio.sleep(0)
        await start(send)
        await say(send, variable.get().encode())

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        client.send((GET + GET.replace(b"/ ", b"/wait ")) * 20)  # pipelined: one request begins the next
        assert [client.read_response().body for _ in range(40)] == [b"set"] * 40
    assert seen == ["unset"] * 40


def test_the_head_goes_out_when_the_app_waits_before_its_body(loop: str) -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["path"] == "/late":
            await asyncio.sleep(0)
        await start(send, (b"x-early", b"yes"))
        await release.wait()
        await say(send, b"late")

    with serving(http_only(app), loop=loop) as served:
        for path in (b"/", b"/late"):
            client = served.connect()
            client.send(GET.replace(b"/ ", path + b" "))
            assert b"x-early" in client.read_until(b"\r\n\r\n")
            served.call(release.set)
            assert client.read_until(b"0\r\n\r\n") == b"4\r\nlate\r\n0\r\n\r\n"
            served.call(release.clear)


def failing(*messages: dict[str, Any], error: bool = True) -> Any:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        if error:
            raise ZeroDivisionError("the app's own")

    return http_only(app)


START = {"type": "http.response.start", "status": 200, "headers": []}
MORE = {"type": "http.response.body", "body": b"part", "more_body": True}


def long_start(length: bytes) -> dict[str, Any]:
    return {**START, "headers": [(b"content-length", length)]}


@pytest.mark.parametrize(
    "app",
    [
        failing(),
        failing(START),
        failing(error=False),
        failing(START, error=False),
        failing({**START, "headers": [(b"x", b"a\r\nb: c")]}),
        failing({**START, "headers": [(b"x", b"a\0")]}),
        failing({**START, "headers": [(b"x y", b"a")]}),
        failing({**START, "headers": [(b"x\n", b"a")]}),
        failing({**START, "headers": [("x", "a")]}),
        failing({**START, "status": "200"}),
        failing({**START, "status": 99}),
        failing({"type": "http.response.body", "body": b""}),
        failing({"type": "nonsense"}),
        failing(long_start(b"+3")),
        failing(long_start(b"3"), {"type": "http.response.body", "body": b"four"}),
        failing(long_start(b"5"), {"type": "http.response.body", "body": b"four"}),
    ],
)
def test_an_app_that_fails_before_its_first_byte_is_a_500_and_the_connection_goes_on(
    app: Any, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(app, loop=loop) as served:
        client = served.connect()
        for _ in range(2):
            response = client.ask(GET)
            assert (response.status, response.body) == (500, b"Internal Server Error")
            assert response.get("connection") is None
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == [
        logging.ERROR
    ] * 2


@pytest.mark.parametrize(
    "app",
    [
        failing(START, MORE),
        failing(START, MORE, error=False),
        failing(long_start(b"8"), MORE),
        failing(long_start(b"8"), MORE, error=False),
        failing(long_start(b"8"), MORE, {**MORE, "body": b"too long"}),
        failing(long_start(b"8"), MORE, {"type": "http.response.body"}),
    ],
)
def test_a_response_that_fails_halfway_never_looks_complete(
    app: Any, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(GET)
        data = client.read_to_end()
        assert b"0\r\n\r\n" not in data.partition(b"\r\n\r\n")[2]
        if b"Content-Length: 8" in data or b"content-length: 8" in data:
            assert len(data.partition(b"\r\n\r\n")[2]) < 8
    assert any(record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("raised", [SystemExit, GeneratorExit, KeyboardInterrupt, asyncio.CancelledError])
def test_whatever_an_app_raises_ends_its_request_only(loop: str, raised: type[BaseException]) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["path"] == "/later":
            await asyncio.sleep(0.001)
        raise raised

    with serving(http_only(app), loop=loop) as served:
        assert served.ask(GET).status == 500
        assert served.ask(GET.replace(b"/ ", b"/later ")).status == 500
        assert served.ask(GET).status == 500


def test_counters_count(loop: str) -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await release.wait()
        await start(send)
        await say(send, b"")

    with serving(http_only(app), loop=loop) as served:
        counters = served.service.counters
        first, second = served.connect(), served.connect()
        first.send(GET)
        second.send(GET)
        wait_until(lambda: (counters.connections, counters.in_flight) == (2, 2))
        served.call(release.set)
        first.read_response()
        second.read_response()
        wait_until(lambda: (counters.requests, counters.in_flight) == (2, 0))


def test_a_slow_client_holds_the_app_back(loop: str) -> None:
    sent = 0

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        nonlocal sent
        await start(send)
        for _ in range(2000):
            await say(send, b"x" * 10000, more=True)
            sent += 10000
        await say(send, b"")

    with serving(http_only(app), loop=loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        client.send(GET)
        steady = wait_steady(served, lambda: sent)
        assert steady < 8_000_000
        response = client.read_response()
        assert (len(response.body), response.is_complete) == (20_000_000, True)


def test_an_app_that_does_not_read_holds_the_client_back(loop: str) -> None:
    release = asyncio.Event()
    size = 20_000_000

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await release.wait()
        read = 0
        while True:
            message = await receive()
            read += len(message["body"])
            if not message["more_body"]:
                break
        await start(send)
        await say(send, b"%d" % read)

    with serving(http_only(app), loop=loop) as served:
        client = served.connect()
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size)
        sent = client.send_while_taken(b"x" * 100_000, size)
        assert sent < 12_000_000
        served.call(release.set)
        client.send(b"x" * (size - sent))
        assert client.read_response().body == b"%d" % size


def test_one_large_message_is_sent_in_slices(loop: str) -> None:
    with serving(respond(body=b"x" * 5_000_001), loop=loop) as served:
        response = served.ask(GET)
        assert (response.get("content-length"), len(response.body)) == ("5000001", 5_000_001)


def wait_steady(served: Served, value: Any) -> int:
    """Wait until a number that another thread raises stays the same over many turns of the loop."""
    last, same = -1, 0
    while same < 20:
        served.run(asyncio.sleep(0.005))
        now = int(value())
        same = same + 1 if now == last else 0
        last = now
    return last
