"""Draining and cutting: nobody who may still speak is hung up on, and the last response says it is the last."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from tests.serve.serving import DEADLINE_S, GET, HOST, serving, wait_until

pytestmark = [
    pytest.mark.parametrize("loop", ["uvloop", "asyncio"]),
    pytest.mark.parametrize("interface", ["asgi", "wsgi", "wsgi-threads"]),
]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body or b"ok"})


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read() or b"ok"]


def app_for(interface: str) -> Any:
    return asgi if interface == "asgi" else wsgi


def test_a_fresh_connection_that_speaks_after_drain_is_answered(interface: str, loop: str) -> None:
    with serving(app_for(interface), interface, loop) as served:
        client = served.connect()
        wait_until(lambda: served.service.counters.connections == 1)
        served.drain()
        served.drain()
        response = client.ask(GET)
        assert (response.status, response.get("connection")) == (200, "close")
        assert client.is_closed()


def test_an_idle_connection_that_speaks_after_drain_is_answered(interface: str, loop: str) -> None:
    with serving(app_for(interface), interface, loop) as served:
        client = served.connect()
        assert client.ask(GET).get("connection") is None
        served.drain()
        assert client.ask(GET).get("connection") == "close"
        assert client.is_closed()


@pytest.mark.parametrize("cut", [5, 30, -2])
def test_a_half_received_request_goes_on_after_drain(interface: str, loop: str, cut: int) -> None:
    request = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
    with serving(app_for(interface), interface, loop) as served:
        client = served.connect()
        client.send(request[:cut])
        wait_until(lambda: served.service.counters.connections == 1)
        served.drain()
        response = client.ask(request[cut:])
        assert (response.body, response.get("connection")) == (b"hello", "close")


def test_pipelined_requests_that_came_before_drain_are_all_answered(interface: str, loop: str) -> None:
    with serving(app_for(interface), interface, loop) as served:
        client = served.connect()
        wait_until(lambda: served.service.counters.connections == 1)
        served.drain()
        client.send(GET * 3)
        closes = [client.read_response().get("connection") for _ in range(3)]
        assert closes == [None, None, "close"]
        assert client.is_closed()


def test_silent_connections_keep_their_time_and_then_the_drain_ends(interface: str, loop: str) -> None:
    with serving(app_for(interface), interface, loop, keep_alive_s=0.2, header_timeout_s=0.2) as served:
        fresh, idle = served.connect(), served.connect()
        idle.ask(GET)
        wait_until(lambda: served.service.counters.connections == 2)
        served.drain()
        assert served.service.counters.connections == 2
        served.run(asyncio.wait_for(served.service.wait_drained(), DEADLINE_S))
        assert fresh.is_closed()
        assert idle.is_closed()


def test_a_fresh_connection_has_the_keep_alive_time_from_the_drain(interface: str, loop: str) -> None:
    with serving(app_for(interface), interface, loop, keep_alive_s=0.3, header_timeout_s=60) as served:
        fresh, kept = served.connect(), served.connect()
        assert kept.ask(GET).status == 200
        assert kept.is_closed()  # so the fresh one is older than the keep-alive time
        before = time.monotonic()
        served.drain()
        assert fresh.is_closed()
        assert time.monotonic() - before >= 0.3


def test_the_last_response_survives_what_the_client_sends_after_it(interface: str, loop: str) -> None:
    with serving(app_for(interface), interface, loop) as served:
        client = served.connect()
        wait_until(lambda: served.service.counters.connections == 1)
        served.drain()
        client.send(GET)
        wait_until(lambda: served.service.counters.requests == 1)
        client.send(GET * 10)  # before it could see that the connection closes
        assert client.read_response().body == b"ok"
        assert client.sock.recv(1) == b""  # an end of file, not a reset
        client.sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: served.service.counters.connections == 0)


def test_cut_ends_everything_and_says_what_was_lost(interface: str, loop: str) -> None:
    with serving(app_for(interface), interface, loop) as served:
        busy, idle = served.connect(), served.connect()
        busy.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhe")
        idle.ask(GET)
        wait_until(lambda: (served.service.counters.connections, served.service.counters.in_flight) == (2, 1))
        assert served.call(served.service.cut) == 1
        assert busy.is_closed()
        assert idle.is_closed()
        wait_until(lambda: served.service.counters.connections == 0)
