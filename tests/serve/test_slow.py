"""Which requests hang: those that the app has not begun to answer, and not those whose client is slow."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from prefork.serve.slow import PER_MINUTE
from tests.serve.serving import GET, HOST, serving, wait_until
from tests.serve.test_deadlines import measure_asgi

SLOW_S = 0.1


async def nap(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    del receive
    await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "prefork.worker")
    return caplog


def find(log: pytest.LogCaptureFixture, event: str) -> list[Any]:
    return [record for record in log.records if record.getMessage() == event]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_request_is_told_of_once_while_it_hangs_and_once_when_it_is_answered(
    loop: str, log: pytest.LogCaptureFixture
) -> None:
    with serving(nap, loop=loop, slow_s=SLOW_S) as served:
        client = served.connect()
        for _ in range(2):  # the exchange of the first serves the second
            client.ask(GET)
    told, again = find(log, "request is slow"), find(log, "slow request")
    assert len(told) == len(again) == 2
    # uvloop counts in whole milliseconds, and may end a sleep within its last one.
    assert SLOW_S * 1000 <= told[0].ms < 499 <= again[0].ms
    assert (again[0].method, again[0].path, again[0].status) == ("GET", "/", 404)
    assert "await asyncio.sleep(0.5)" in told[1].detail
    assert "prefork/serve" not in told[1].detail


def test_a_client_that_is_slow_with_its_body_is_not_the_apps_fault(log: pytest.LogCaptureFixture) -> None:
    with serving(measure_asgi, slow_s=SLOW_S) as served:
        client = served.connect()
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n")
        for _ in range(5):
            time.sleep(0.1)  # the client's pace
            client.send(b"x")
        assert client.read_response().body == b"5"
    assert log.records == []


async def read_then_nap(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    while (await receive())["more_body"]:
        pass
    await nap(scope, receive, send)


def test_the_apps_time_is_counted_from_when_the_client_had_sent_its_body(
    log: pytest.LogCaptureFixture,
) -> None:
    with serving(read_then_nap, slow_s=0.3) as served:
        client = served.connect()
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n")
        time.sleep(0.7)  # the client's pace
        client.send(b"x")
        assert client.read_response().status == 404
    (told,) = find(log, "request is slow")
    assert 300 <= told.ms < 650, "without the time of the client's"


def test_of_many_slow_requests_some_are_told_and_the_others_counted(log: pytest.LogCaptureFixture) -> None:
    with serving(nap, slow_s=SLOW_S) as served:
        clients = [served.connect() for _ in range(PER_MINUTE + 4)]
        for client in clients:
            client.send(GET)
        for client in clients:
            client.read_response()
        assert len(find(log, "request is slow")) == PER_MINUTE
        assert served.service._slow_log is not None
        assert served.service._slow_log._untold == 4
        served.service._slow_log._told_at.clear()
        clients[0].ask(GET)
    assert find(log, "request is slow")[-1].untold == 4


def test_without_it_nothing_is_looked_at(log: pytest.LogCaptureFixture) -> None:
    with serving(nap, slow_s=0.0) as served:
        served.connect().ask(GET)
        wait_until(lambda: served.service.counters.requests == 1, "the count")
        assert served.service._slow_log is None
    assert log.records == []
