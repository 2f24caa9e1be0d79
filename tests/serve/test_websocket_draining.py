"""Draining: each WebSocket is closed with 1012 at a quiet moment, nothing that was said is lost; or all are let be."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from tests.serve.serving import DEADLINE_S, GET, serving, wait_until
from tests.serve.websocket_apps import Echo, Message, Receive, Send, accept, websocket
from tests.serve.websocket_client import (
    CLOSE,
    CONT,
    TEXT,
    Frame,
    Socket,
    close_data,
    handshake,
    open_socket,
    read_switch,
    render,
)

LOOPS = ("uvloop", "asyncio")
pytestmark = pytest.mark.parametrize("loop", LOOPS)

RESTART = (1012, "service restart")


def answer_close(socket: Socket, expected: tuple[int, str] = RESTART) -> None:
    """Read the server's Close, answer it, see the end."""
    assert socket.read_close() == expected
    socket.send(CLOSE, close_data(expected[0]))
    assert socket.is_ended()


def test_an_open_socket_is_closed_and_its_app_told(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.echo("before")
        served.drain()
        served.drain()
        answer_close(socket)
        served.run(asyncio.wait_for(served.service.wait_drained(), DEADLINE_S))
    assert app.ends == [RESTART]


def test_the_close_waits_until_a_message_that_has_come_is_answered(loop: str) -> None:
    may_answer = asyncio.Event()

    async def slow_echo(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        while (message := await receive())["type"] == "websocket.receive":
            await may_answer.wait()
            await send({"type": "websocket.send", "text": message["text"]})

    with serving(websocket(slow_echo), loop=loop) as served:
        socket = open_socket(served)
        socket.send(TEXT, b"one")
        socket.send(TEXT, b"two")
        wait_until(lambda: len(served.service.stepper.tasks) == 1)  # type: ignore[union-attr]
        served.drain()
        served.loop.call_soon_threadsafe(served.loop.call_later, 0.3, may_answer.set)
        assert socket.read() == Frame(TEXT, b"one")
        assert socket.read() == Frame(TEXT, b"two")
        answer_close(socket)


def test_an_app_that_never_comes_to_rest_is_closed_all_the_same(loop: str) -> None:
    errors: list[BaseException] = []

    async def push(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        number = 0
        try:
            while True:
                await send({"type": "websocket.send", "text": str(number)})
                number += 1
                await asyncio.sleep(0.01)
        except OSError as error:
            errors.append(error)
            assert (await receive())["code"] == 1012

    with serving(websocket(push), loop=loop, graceful_timeout_s=2.0) as served:
        socket = open_socket(served)
        assert socket.read() == Frame(TEXT, b"0")
        served.drain()
        number = 1
        while (frame := socket.read()).opcode == TEXT:
            assert frame.data == str(number).encode()  # all that was sent is delivered
            number += 1
        assert frame == Frame(CLOSE, close_data(1012, b"service restart"))
        socket.send(CLOSE, close_data(1012))
        assert socket.is_ended()
    assert len(errors) == 1


def test_a_message_in_the_middle_is_let_through(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.send(TEXT, b"half", fin=False)
        rest = render(CONT, b" and half")
        socket.client.send(rest[:7])
        served.drain()
        socket.client.sock.settimeout(0.5)  # longer than it takes to close one that is quiet
        with pytest.raises(TimeoutError):
            socket.read()
        socket.client.sock.settimeout(DEADLINE_S)
        socket.client.send(rest[7:])
        assert socket.read() == Frame(TEXT, b"half and half")
        answer_close(socket)
    assert app.received == ["half and half"]


def test_what_the_client_sent_before_it_saw_the_close_reaches_the_app(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.echo("x")
        served.drain()
        assert socket.read_close() == RESTART
        socket.send(TEXT, b"crossed")
        socket.send(TEXT, b"fragm", fin=False)
        socket.send(CONT, b"ented")
        socket.send(CLOSE, close_data(1012))
        assert socket.is_ended()
        wait_until(lambda: bool(app.ends))
    assert app.received == ["x", "crossed", "fragmented"]
    assert app.ends == [RESTART]


def test_a_handshake_that_is_under_way_is_accepted_and_then_closed(loop: str) -> None:
    may_accept = asyncio.Event()
    app = Echo()

    async def late(scope: Message, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        await may_accept.wait()
        await app(scope, receive, send)

    with serving(late, loop=loop) as served:
        client = served.connect()
        client.send(handshake() + render(TEXT, b"hello"))
        wait_until(lambda: served.service.counters.in_flight == 1)
        served.drain()
        served.call(may_accept.set)
        read_switch(client)
        socket = Socket.__new__(Socket)
        socket.client = client
        assert socket.read() == Frame(TEXT, b"hello")
        answer_close(socket)
    assert app.ends == [RESTART]


def test_many_sockets_are_closed_over_a_while_and_not_at_once(loop: str) -> None:
    with serving(Echo(), loop=loop) as served:
        sockets = [open_socket(served) for _ in range(60)]
        started = time.monotonic()
        served.drain()
        ended = []
        for socket in sockets:
            assert socket.read_close() == RESTART
            ended.append(time.monotonic() - started)
            socket.send(CLOSE, close_data(1012))
        assert 0.3 < max(ended) < 3.0  # 60 sockets take 0.6 s


def test_with_wait_they_stay_until_they_end_by_themselves(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop, drain_websockets="wait") as served:
        socket = open_socket(served)
        fresh = served.connect()
        served.drain()
        assert fresh.ask(GET).get("connection") == "close"
        late = open_socket(served)
        for number in range(5):
            socket.echo(str(number))
            late.echo(str(number))
        drained = asyncio.run_coroutine_threadsafe(served.service.wait_drained(), served.loop)
        socket.close(1001)
        assert not drained.done()
        late.close(1000)
        drained.result(DEADLINE_S)
    assert app.ends == [(1001, ""), (1000, "")]


@pytest.mark.parametrize("mode", ["close", "wait"])
def test_a_cut_tells_clients_and_apps_and_is_told(
    loop: str, mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = Echo()
    with serving(app, loop=loop, drain_websockets=mode) as served:
        sockets = [open_socket(served) for _ in range(3)]
        assert served.call(served.service.cut) == 0  # no request is lost with a socket at rest
        for socket in sockets:
            assert socket.read_close() == RESTART
            assert socket.is_ended()
        wait_until(lambda: len(app.ends) == 3)
    assert app.ends == [RESTART] * 3
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "WebSockets cut")
    assert vars(record)["connections"] == 3


def test_a_handshake_that_is_cut_is_a_request_lost(loop: str) -> None:
    async def hang(scope: Message, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    with serving(websocket(hang), loop=loop) as served:
        client = served.connect()
        client.send(handshake())
        wait_until(lambda: served.service.counters.in_flight == 1)
        assert served.call(served.service.cut) == 1
        assert client.read_to_end() == b""


def test_a_client_that_does_not_answer_holds_the_drain_for_a_while_only(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.serve.websocket_deadlines.CLOSE_S", 0.5)
    with serving(Echo(), loop=loop) as served:
        socket = open_socket(served)
        served.drain()
        assert socket.read_close() == RESTART
        served.run(asyncio.wait_for(served.service.wait_drained(), DEADLINE_S))


def test_draining_says_nothing_in_the_log(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), serving(Echo(), loop=loop) as served:
        socket = open_socket(served)
        served.drain()
        answer_close(socket)
    assert caplog.records == []
