"""The opening handshake: what an app is told, what it may answer, and which clients are refused (RFC 6455 §4)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any, cast

import pytest

from prefork.serve.asgi import AsgiService
from tests.serve.serving import GET, serving, wait_until
from tests.serve.websocket_apps import Echo, Message, Receive, Send, accept, websocket
from tests.serve.websocket_client import (
    TEXT,
    Frame,
    Socket,
    handshake,
    open_socket,
    read_switch,
    render,
)

LOOPS = ("uvloop", "asyncio")
pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_the_scope_is_typed_as_asgi_has_it(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop, root_path="/api") as served:
        state = cast(AsgiService, served.service).state
        state["db"] = "connected"
        client = served.connect()
        own = client.sock.getsockname()
        lines = (b"Sec-WebSocket-Protocol: chat, superchat", b"X-Thing: 1", b"Sec-WebSocket-Protocol: third")
        socket = Socket(client, *lines, path=b"/caf%C3%A9?q=%20")
        socket.echo("x")
        (scope,) = app.scopes
        headers = scope.pop("headers")
        assert scope == {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/api/café",
            "raw_path": b"/api/caf%C3%A9",
            "query_string": b"q=%20",
            "root_path": "/api",
            "client": (own[0], own[1]),
            "server": served.listener.getsockname(),
            "subprotocols": ["chat", "superchat", "third"],
            "state": {"db": "connected"},
            "extensions": {"websocket.http.response": {}},
        }
        assert headers[0] == (b"host", b"test")
        assert (b"x-thing", b"1") in headers
        assert scope["state"] is not state
        socket.close()


def test_an_accept_may_name_a_subprotocol_and_headers(loop: str) -> None:
    app = Echo(
        subprotocol="superchat", headers=[(b"x-app", b"1"), (b"Set-Cookie", b"a=b"), (b"upgrade", b"h2c")]
    )
    with serving(app, loop=loop) as served:
        socket = open_socket(served, b"Sec-WebSocket-Protocol: chat, superchat")
        response = socket.response
        assert response.get("sec-websocket-protocol") == "superchat"
        assert (response.get("x-app"), response.get("set-cookie")) == ("1", "a=b")
        assert (len(response.all("date")), response.all("server")) == (1, ["prefork"])
        assert response.get("sec-websocket-extensions") is None
        socket.close()


@pytest.mark.parametrize(
    "bad",
    [{"subprotocol": "other"}, {"headers": [(b"x", b"1\r\ny: 2")]}, {"headers": [(b"a b", b"1")]}],
    ids=str,
)
def test_an_accept_that_must_not_reach_the_wire_is_the_apps_failure(loop: str, bad: Message) -> None:
    with serving(Echo(**bad), loop=loop) as served:
        response = served.ask(handshake(b"Sec-WebSocket-Protocol: chat"))
        assert (response.status, response.get("connection")) == (500, "close")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"ws_version": b"Sec-WebSocket-Version: 8"}, 426),
        ({"ws_version": b"Sec-WebSocket-Version: 13, 8"}, 426),
        ({"ws_version": b""}, 426),
        ({"key": b""}, 400),
        ({"key": b"Sec-WebSocket-Key: short"}, 400),
        (
            {
                "key": b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
            },
            400,
        ),
        ({"key": b"Sec-WebSocket-Key: *AAAAAAAAAAAAAAAAAAAAA=="}, 400),
        ({"method": b"POST"}, 400),
        ({"host": b""}, 400),
        ({"host": b"Host: a\r\nHost: b"}, 400),
    ],
    ids=str,
)
def test_a_bad_handshake_is_refused_and_never_reaches_the_app(
    loop: str, changed: dict[str, bytes], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = Echo()
    with caplog.at_level(logging.INFO), serving(app, loop=loop) as served:
        client = served.connect()
        client.send(handshake(**changed) + render(TEXT, b"early"))
        response = client.read_response()
        assert (response.status, response.all("connection")[-1]) == (status, "close")
        assert response.get("sec-websocket-version") == ("13" if status == 426 else None)
        assert response.get("upgrade") == ("websocket" if status == 426 else None)
        assert client.is_closed()
    assert app.scopes == []
    assert caplog.records == []


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
    ids=["length", "chunked"],
)
def test_a_handshake_with_a_body_is_refused(loop: str, body: bytes) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(handshake()[:-2] + body + GET)
        assert client.read_response().status == 400
        assert client.is_closed()
    assert app.scopes == []


@pytest.mark.parametrize("upgrade", [b"Upgrade: WebSocket", b"Upgrade: h2c, websocket"], ids=str)
@pytest.mark.parametrize("connection", [b"Connection: keep-alive, upgrade", b"Connection: UPGRADE"], ids=str)
def test_tokens_are_found_in_lists_and_in_any_case(loop: str, upgrade: bytes, connection: bytes) -> None:
    with serving(Echo(), loop=loop) as served:
        client = served.connect()
        client.send(handshake(upgrade=upgrade, connection=connection))
        assert read_switch(client).status == 101


@pytest.mark.parametrize(
    "changed",
    [
        {"version": b"HTTP/1.0"},
        {"upgrade": b"Upgrade: h2c"},
        {"upgrade": b""},
        {"connection": b"Connection: keep-alive"},
    ],
    ids=str,
)
def test_what_asks_for_no_websocket_is_plain_http(loop: str, changed: dict[str, bytes]) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        assert served.ask(handshake(**changed)).body == b"plain"
    assert app.scopes == []


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_handshake_may_come_in_pieces(loop: str, cut: int) -> None:
    with serving(Echo(), loop=loop) as served:
        client = served.connect()
        whole = handshake()
        client.send(whole[:cut])
        wait_until(lambda: served.service.counters.connections == 1)
        client.send(whole[cut:])
        assert read_switch(client).status == 101


@pytest.mark.parametrize("size", [5, 120, 300, 20_000, 200_000])
def test_frames_sent_along_with_the_handshake_are_not_lost(loop: str, size: int) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        early = b"e" * size
        socket = open_socket(served, behind=render(TEXT, early) + render(TEXT, b"second"))
        assert socket.read() == Frame(TEXT, early)
        assert socket.read() == Frame(TEXT, b"second")
        socket.close()
    assert app.received == [early.decode(), "second"]


def test_frames_sent_before_a_slow_accept_are_kept_and_bounded(loop: str) -> None:
    may_accept = asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        await may_accept.wait()
        await echo(scope, receive, send)

    echo = Echo()
    with serving(app, loop=loop) as served:
        client = served.connect()
        frame = render(TEXT, b"m" * 1000)
        client.send(handshake())
        taken = client.send_while_taken(frame, 20_000_000)
        assert taken < 12_000_000
        served.call(may_accept.set)
        read_switch(client)
        socket = Socket.__new__(Socket)
        socket.client = client
        for _ in range(50):
            assert socket.read() == Frame(TEXT, b"m" * 1000)
        client.close()


def test_a_handshake_waits_for_the_answers_owed_before_it(loop: str) -> None:
    with serving(Echo(), loop=loop) as served:
        client = served.connect()
        client.send(GET + GET + handshake() + render(TEXT, b"hi"))
        assert [client.read_response().body for _ in range(2)] == [b"plain", b"plain"]
        read_switch(client)
        assert client.read_exactly(4) == b"\x81\x02hi"


def test_a_close_before_the_accept_is_a_403(loop: str) -> None:
    told: list[Message] = []

    async def deny(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": 4000})
        told.append(await receive())
        with pytest.raises(RuntimeError, match="closed by the app"):
            await accept(send)

    with serving(websocket(deny), loop=loop) as served:
        client = served.connect()
        response = client.ask(handshake())
        assert (response.status, response.get("connection")) == (403, "close")
        latency = cast(AsgiService, served.service).tally.latency
        wait_until(lambda: sum(latency) == 1)
        assert sum(latency[34:]) == 0, "from its own head on: less than 2^33 ns"
        assert client.is_closed()
    assert told == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_a_denial_is_a_response_like_any_other(loop: str) -> None:
    async def deny(scope: Message, receive: Receive, send: Send) -> None:
        headers = [(b"www-authenticate", b"Basic")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"who are you?"})

    with serving(websocket(deny), loop=loop) as served:
        client = served.connect()
        response = client.ask(handshake())
        assert (response.status, response.body) == (401, b"who are you?")
        assert (response.get("www-authenticate"), response.get("content-length")) == ("Basic", "12")
        assert client.is_closed()
        assert served.service.counters.requests == 1


def test_a_denial_may_be_streamed_and_its_head_does_not_wait(loop: str) -> None:
    go_on = asyncio.Event()

    async def deny(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 503, "headers": []})
        await go_on.wait()
        for part in (b"try ", b"again"):
            await send({"type": "websocket.http.response.body", "body": part, "more_body": True})
        await send({"type": "websocket.http.response.body"})

    with serving(websocket(deny), loop=loop) as served:
        client = served.connect()
        client.send(handshake())
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 503 ")
        served.call(go_on.set)
        assert b"chunked" in client.read_until(b"\r\n\r\n")
        assert client.read_until(b"0\r\n\r\n") == b"4\r\ntry \r\n5\r\nagain\r\n0\r\n\r\n"
        assert client.is_closed()


@pytest.mark.parametrize("status", [101, 100, 99])
def test_a_denial_is_a_final_response(loop: str, status: int) -> None:
    async def deny(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": status, "headers": []})

    with serving(websocket(deny), loop=loop) as served:
        assert served.ask(handshake()).status == 500


async def raises(scope: Message, receive: Receive, send: Send) -> None:
    raise ValueError("boom")


async def exits(scope: Message, receive: Receive, send: Send) -> None:
    raise SystemExit(3)


async def returns(scope: Message, receive: Receive, send: Send) -> None:
    pass


async def starts(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})


async def sends(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.send", "text": "too early"})


@pytest.mark.parametrize("handler", [raises, exits, returns, starts, sends])
def test_an_app_that_fails_before_the_accept_is_a_500(
    loop: str, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(websocket(handler), loop=loop) as served:
        client = served.connect()
        response = client.ask(handshake())
        assert (response.status, response.get("connection")) == (500, "close")
        assert client.is_closed()
        assert served.service.counters.requests == 1
    (record,) = caplog.records
    assert record.levelname == "ERROR"


@pytest.mark.parametrize("way", ["reset", "half-close"])
def test_an_app_whose_client_leaves_before_the_accept_is_told(
    loop: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Message] = []

    async def hesitate(scope: Message, receive: Receive, send: Send) -> None:
        told.append(await receive())
        with pytest.raises(OSError, match="the client is gone"):
            await accept(send)
        await accept(send)  # and its error may leave the app

    with serving(websocket(hesitate), loop=loop) as served:
        client = served.connect()
        client.send(handshake())
        wait_until(lambda: served.service.counters.in_flight == 1)
        if way == "reset":
            client.close()
        else:
            client.sock.shutdown(1)
        wait_until(lambda: served.service.counters.connections == 0)
    assert told == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert caplog.records == []


def test_a_client_that_leaves_before_its_handshake_has_its_turn_is_gone(loop: str) -> None:
    may_answer = asyncio.Event()
    told: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await may_answer.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first"})
        elif scope["type"] == "websocket":
            told.extend([await receive(), await receive()])
        else:
            raise NotImplementedError

    with serving(app, loop=loop) as served:
        client = served.connect()
        client.send(GET + handshake())
        client.sock.shutdown(1)
        wait_until(lambda: served.service.counters.in_flight == 2)
        served.call(may_answer.set)
        assert client.read_response().body == b"first"
        client.read_to_end()
        wait_until(lambda: served.service.counters.connections == 0)
    assert [message["type"] for message in told] == ["websocket.connect", "websocket.disconnect"]


def test_the_handshake_counts_as_one_request_and_an_open_socket_as_a_connection(loop: str) -> None:
    with serving(Echo(), loop=loop) as served:
        counters = served.service.counters
        socket = open_socket(served)
        socket.echo("x")
        assert (counters.connections, counters.in_flight, counters.requests) == (1, 0, 1)
        socket.close()
        wait_until(lambda: counters.connections == 0)
        assert (counters.in_flight, counters.requests) == (0, 1)


def test_each_socket_has_a_context_of_its_own(loop: str) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []

    async def count(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(variable.get())
        variable.set(variable.get() + 1)
        await accept(send)
        await receive()
        seen.append(variable.get())

    with serving(websocket(count), loop=loop) as served:
        for _ in range(3):
            open_socket(served).close()
    assert seen == [0, 1] * 3


@pytest.mark.parametrize("interface", ["wsgi", "wsgi-threads"])
def test_a_wsgi_app_is_asked_for_a_page(loop: str, interface: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["HTTP_UPGRADE"].encode()]

    with serving(app, interface, loop) as served:
        client = served.connect()
        client.send(handshake() * 2)
        assert [client.read_response().body for _ in range(2)] == [b"websocket"] * 2
