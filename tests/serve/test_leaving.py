"""Who is asked to leave hears it on a response, and nobody loses one by it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serve.serving import Client, Served, serving

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"ok"]


INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi", "wsgi-threads"])


def connect_known(served: Served, count: int) -> list[Client]:
    """Clients that have had an answer."""
    clients = [served.connect() for _ in range(count)]
    for client in clients:
        assert client.ask(ASK).get("connection") is None
    return clients


def app_of(interface: str) -> Any:
    return asgi if interface == "asgi" else wsgi


@INTERFACES
def test_as_many_as_were_named_leave_with_an_answer_and_the_others_stay(interface: str) -> None:
    with serving(app_of(interface), interface) as served:
        clients = connect_known(served, 5)
        served.call(lambda: served.service.ask_to_leave(2))
        told = [client.ask(ASK).get("connection") for client in clients]
        assert told == ["close", "close", None, None, None]
        assert [client.is_closed() for client in clients[:2]] == [True, True]
        assert [client.ask(ASK).get("connection") for client in clients[2:]] == [None] * 3
        assert served.call(lambda: served.service.ask_to_leave(0)) == 2


@INTERFACES
def test_who_is_new_here_is_not_asked_before_its_second_answer(interface: str) -> None:
    with serving(app_of(interface), interface) as served:
        served.call(lambda: served.service.ask_to_leave(10))
        client = served.connect()
        assert client.ask(ASK).get("connection") is None
        assert client.ask(ASK).get("connection") == "close"


def test_requests_that_have_already_come_are_answered_first() -> None:
    with serving(asgi) as served:
        [client] = connect_known(served, 1)
        served.call(lambda: served.service.ask_to_leave(1))
        client.send(ASK * 3)
        assert [client.read_response().get("connection") for _ in range(3)] == [None, None, "close"]
        assert client.is_closed()


def test_what_a_client_sends_too_late_is_no_reason_to_reset_it() -> None:
    with serving(asgi) as served:
        [client] = connect_known(served, 1)
        served.call(lambda: served.service.ask_to_leave(1))
        assert client.ask(ASK).get("connection") == "close"
        assert client.is_closed()
        for _ in range(3):  # whoever was reset hears of it at the second
            client.send(ASK)


def test_a_new_number_replaces_the_old_one_and_draining_asks_everybody() -> None:
    with serving(asgi) as served:
        clients = connect_known(served, 3)
        served.call(lambda: served.service.ask_to_leave(3))
        served.call(lambda: served.service.ask_to_leave(0))
        assert clients[0].ask(ASK).get("connection") is None
        served.drain()
        served.call(lambda: served.service.ask_to_leave(0))
        assert [client.ask(ASK).get("connection") for client in clients] == ["close"] * 3
