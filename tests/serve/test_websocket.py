"""An open WebSocket: messages both ways, control frames, closing from either side, and what an app's failure does."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.serve.serving import DEADLINE_S, Served, serving, wait_until
from tests.serve.websocket_apps import Echo, Message, Receive, Send, accept, websocket
from tests.serve.websocket_client import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Frame,
    close_data,
    open_socket,
    render,
)

LOOPS = ("uvloop", "asyncio")
pytestmark = pytest.mark.parametrize("loop", LOOPS)


def url(served: Served) -> str:
    host, port = served.listener.getsockname()
    return f"ws://{host}:{port}/"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 1_000_000])
def test_messages_of_every_length_come_back_as_they_were(loop: str, size: int) -> None:
    text, data = "ü" * (size // 2) + "x" * (size % 2), bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.send(TEXT, text.encode())
        assert socket.read() == Frame(TEXT, text.encode())
        socket.send(BINARY, data)
        assert socket.read() == Frame(BINARY, data)
        socket.close()
    assert app.received == [text, data]
    assert [type(message) for message in app.received] == [str, bytes]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_client_of_the_field_is_understood(loop: str, compression: str | None) -> None:
    with serving(Echo(), loop=loop) as served, connect(url(served), compression=compression) as client:
        for message in ("hi", "x" * 300, b"abc" * 50_000, "", b""):
            client.send(message)
            assert client.recv(timeout=DEADLINE_S) == message
        client.send(["frag", "men", "ted"])
        assert client.recv(timeout=DEADLINE_S) == "fragmented"
        assert client.ping().wait(DEADLINE_S)


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 1000])
def test_frames_may_come_in_any_pieces(loop: str, at_once: int) -> None:
    app = Echo()
    frames = (
        render(TEXT, b"short")
        + render(BINARY, b"m" * 300)
        + render(TEXT, b"fr", fin=False)
        + render(PING, b"p")
        + render(CONT, b"ag")
        + render(TEXT, b"")
    )
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        for at in range(0, len(frames), at_once):
            socket.client.send(frames[at : at + at_once])
        read = [socket.read() for _ in range(5)]
        socket.close()
    assert app.received == ["short", b"m" * 300, "frag", ""]
    assert Frame(PONG, b"p") in read


def test_a_ping_between_fragments_is_answered_before_the_message_is_complete(loop: str) -> None:
    with serving(Echo(), loop=loop) as served:
        socket = open_socket(served)
        socket.send(TEXT, "hé".encode()[:2], fin=False)
        socket.send(PING, b"still there?")
        assert socket.read() == Frame(PONG, b"still there?")
        socket.send(CONT, "hé".encode()[2:], fin=False)
        socket.send(PONG, b"unasked")
        socket.send(CONT, b"llo")
        assert socket.read() == Frame(TEXT, "héllo".encode())
        socket.close()


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "bye"), (3000, ""), (4999, "ü" * 61), (1011, "")]
)
def test_the_app_is_told_why_the_client_closed(loop: str, code: int, reason: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        open_socket(served).close(code, reason.encode())
    assert app.ends == [(code, reason)]


def test_a_close_without_a_code_is_1005(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.send(CLOSE)
        assert socket.read() == Frame(CLOSE, b"")
        assert socket.is_ended()
    assert app.ends == [(1005, "")]


def test_a_close_in_the_middle_of_a_message_is_a_close(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.send(TEXT, b"never comp", fin=False)
        socket.close(1001)
    assert (app.received, app.ends) == ([], [(1001, "")])


@pytest.mark.parametrize("way", ["reset", "half-close"])
def test_a_client_that_vanishes_is_1006(loop: str, way: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.echo("x")
        if way == "reset":
            socket.client.close()
        else:
            socket.client.sock.shutdown(1)
        wait_until(lambda: bool(app.ends))
    assert app.ends == [(1006, "")]


def test_everything_received_is_told_before_the_disconnect(loop: str) -> None:
    told: list[Message] = []
    may_receive = asyncio.Event()

    async def late(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        await may_receive.wait()
        while not told or told[-1]["type"] != "websocket.disconnect":
            told.append(await receive())
        assert await receive() == told[-1]

    with serving(websocket(late), loop=loop) as served:
        socket = open_socket(served, behind=render(TEXT, b"a") + render(BINARY, b"b"))
        socket.close(1000)
        served.call(may_receive.set)
        wait_until(lambda: len(told) == 3)
    assert [message.get("text") or message.get("bytes") for message in told] == ["a", b"b", None]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, (1000, "")),
        ({"code": 4001, "reason": "enough"}, (4001, "enough")),
        ({"code": 1001, "reason": None}, (1001, "")),
        ({"code": None}, (1000, "")),
    ],
)
def test_the_app_closes_with_code_and_reason(loop: str, message: Message, expected: tuple[int, str]) -> None:
    told: list[Message] = []

    async def close(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        await send({"type": "websocket.send", "text": "last"})
        await send({"type": "websocket.close", **message})
        with pytest.raises(RuntimeError, match="closed by the app"):
            await send({"type": "websocket.send", "text": "one more"})
        told.append(await receive())

    with serving(websocket(close), loop=loop) as served:
        socket = open_socket(served)
        assert socket.read() == Frame(TEXT, b"last")
        assert socket.read_close() == expected
        socket.send(TEXT, b"crossing")
        socket.send(CLOSE, close_data(expected[0]))
        assert socket.is_ended()
        wait_until(lambda: bool(told))
    assert told == [{"type": "websocket.disconnect", "code": expected[0], "reason": expected[1]}]


@pytest.mark.parametrize(
    "message", [{"code": 1005}, {"code": 1006}, {"code": 999}, {"code": 5000}, {"reason": "r" * 124}]
)
def test_a_close_that_must_not_be_sent_is_the_apps_error(loop: str, message: Message) -> None:
    async def close(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        with pytest.raises(ValueError, match="close code"):
            await send({"type": "websocket.close", **message})

    with serving(websocket(close), loop=loop) as served:
        assert open_socket(served).read_close() == (1000, "")


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "websocket.send", "text": b"bytes"}, AttributeError),
        ({"type": "websocket.send", "bytes": "text"}, TypeError),
        ({"type": "websocket.accept"}, RuntimeError),
        ({"type": "http.response.start", "status": 200}, RuntimeError),
    ],
    ids=str,
)
def test_a_message_that_makes_no_sense_is_an_exception_and_nothing_on_the_wire(
    loop: str, message: Message, error: type[Exception]
) -> None:
    async def confuse(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        with pytest.raises(error):
            await send(message)
        await send({"type": "websocket.send", "bytes": memoryview(b"fine"), "text": None})

    with serving(websocket(confuse), loop=loop) as served:
        socket = open_socket(served)
        assert socket.read() == Frame(BINARY, b"fine")
        assert socket.read_close() == (1000, "")


async def raises(scope: Message, receive: Receive, send: Send) -> None:
    await accept(send)
    raise ValueError("boom")


async def exits(scope: Message, receive: Receive, send: Send) -> None:
    await accept(send)
    raise SystemExit(3)


@pytest.mark.parametrize("handler", [raises, exits])
def test_an_app_that_fails_after_the_accept_is_1011(
    loop: str, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(websocket(handler), loop=loop) as served:
        socket = open_socket(served)
        assert socket.read_close() == (1011, "")
        socket.send(CLOSE, close_data(1011))
        assert socket.is_ended()
    (record,) = caplog.records
    assert record.exc_info


@pytest.mark.parametrize("what_is_sent", [b"", render(TEXT, b"unread") * 1000])
def test_an_app_that_returns_closes_with_1000(loop: str, what_is_sent: bytes) -> None:
    with serving(websocket(lambda _scope, _receive, send: accept(send)), loop=loop) as served:
        socket = open_socket(served, behind=what_is_sent)
        assert socket.read_close() == (1000, "")
        socket.send(CLOSE, close_data(1000))
        assert socket.is_ended()


def test_an_app_may_give_up_waiting_and_lose_nothing_by_it(loop: str) -> None:
    waited: list[int] = []

    async def impatient(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        while True:
            try:
                message = await asyncio.wait_for(receive(), 0.001)
            except asyncio.TimeoutError:
                waited.append(len(receive.__self__._waiters))  # type: ignore[attr-defined]
                continue
            if message["type"] == "websocket.disconnect":
                return
            await send({"type": "websocket.send", "text": message["text"]})

    with serving(websocket(impatient), loop=loop) as served:
        socket = open_socket(served)
        for number in range(50):
            socket.echo(str(number))
        wait_until(lambda: len(waited) > 20)
        socket.close()
    assert set(waited) == {0}


def test_sending_to_a_client_that_is_gone_is_an_oserror_and_no_error_of_the_app(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    raised: list[BaseException] = []

    async def persist(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        assert (await receive())["type"] == "websocket.disconnect"
        try:
            await send({"type": "websocket.send", "text": "anybody?"})
        except OSError as error:
            raised.append(error)
            raise

    with caplog.at_level(logging.INFO), serving(websocket(persist), loop=loop) as served:
        open_socket(served).close()
        wait_until(lambda: bool(raised))
    assert caplog.records == []


def test_the_disconnect_as_an_exception_of_a_framework_is_no_error_of_the_app(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    class DisconnectError(Exception):
        def __init__(self, code: int, reason: str | None) -> None:
            self.code, self.reason = code, reason

    async def framework(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        message = await receive()
        raise DisconnectError(message["code"], message["reason"] or None)

    with serving(websocket(framework), loop=loop) as served:
        open_socket(served).close(4000)
        wait_until(lambda: served.service.counters.connections == 0)
    assert caplog.records == []


def test_a_client_that_never_answers_a_close_is_let_go(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefork.serve.websocket_deadlines.CLOSE_S", 0.3)
    with serving(websocket(lambda _scope, _receive, send: accept(send)), loop=loop) as served:
        socket = open_socket(served)
        assert socket.read_close() == (1000, "")
        socket.client.read_to_end()
        wait_until(lambda: served.service.counters.connections == 0)


def test_silent_clients_are_pinged_and_closed_when_they_do_not_answer(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop, ws_ping_interval_s=0.2, ws_ping_timeout_s=0.3) as served:
        socket = open_socket(served)
        for _ in range(3):
            ping = socket.read()
            assert ping.opcode == PING
            socket.send(PONG, ping.data)
        assert socket.read().opcode == PING
        assert socket.read_close() == (1011, "keepalive ping timeout")
        assert socket.is_ended()
        wait_until(lambda: bool(app.ends))
    assert app.ends == [(1011, "keepalive ping timeout")]


@pytest.mark.parametrize(
    "settings", [{"ws_ping_interval_s": 0.0}, {"ws_ping_interval_s": 0.1, "ws_ping_timeout_s": 0.0}]
)
def test_pings_can_be_turned_off(loop: str, settings: dict[str, Any]) -> None:
    with serving(Echo(), loop=loop, keep_alive_s=0.2, header_timeout_s=0.2, **settings) as served:
        socket = open_socket(served)
        socket.client.sock.settimeout(1.0)
        if settings["ws_ping_interval_s"]:
            assert socket.read().opcode == PING
        with pytest.raises(TimeoutError):
            socket.read()
        socket.client.sock.settimeout(DEADLINE_S)
        socket.close()


def test_a_client_held_back_by_its_app_is_not_taken_for_dead(loop: str) -> None:
    may_receive = asyncio.Event()
    ends: list[Message] = []

    async def slow(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        await may_receive.wait()
        while (message := await receive())["type"] != "websocket.disconnect":
            pass
        ends.append(message)

    with serving(websocket(slow), loop=loop, ws_ping_interval_s=0.1, ws_ping_timeout_s=0.1) as served:
        socket = open_socket(served)
        socket.client.send_while_taken(render(BINARY, b"x" * 1000), 20_000_000)
        # Far longer than both; a condition cannot be waited for, since nothing may happen.
        socket.client.sock.settimeout(1.0)
        try:
            while True:
                assert socket.read().opcode == PING  # those from before reading was paused
        except TimeoutError:
            pass
        assert served.service.counters.connections == 1
        served.call(may_receive.set)
        socket.client.close()
        wait_until(lambda: bool(ends))
    assert ends[0]["code"] == 1006


@pytest.mark.parametrize("end", ["client", "app", "error", "reset"])
def test_a_socket_that_ended_leaves_nothing_for_the_collector(loop: str, end: str) -> None:
    async def talk(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        if end == "app":
            return
        while (await receive())["type"] != "websocket.disconnect":
            pass

    def count() -> int:
        kinds = {
            "WebSocketConnection",
            "WebSocketExchange",
            "Wire",
            "Opening",
            "HttpConnection",
            "RequestReader",
        }
        return sum(type(thing).__name__ in kinds for thing in gc.get_objects())

    gc.collect()
    before = count()
    gc.disable()
    try:
        with serving(websocket(talk), loop=loop) as served:
            for _ in range(10):
                socket = open_socket(served, b"Sec-WebSocket-Extensions: permessage-deflate")
                if end == "client":
                    socket.close()
                elif end == "app":
                    assert socket.read_close() == (1000, "")
                    socket.send(CLOSE, close_data(1000))
                elif end == "error":
                    socket.send(CONT, b"x" * 200)
                    assert socket.read_close()[0] == 1002
                socket.client.close()
            wait_until(lambda: served.service.counters.connections == 0)
            wait_until(lambda: count() <= before + 1, "the last one may still be in a frame of the loop's")
    finally:
        gc.enable()
