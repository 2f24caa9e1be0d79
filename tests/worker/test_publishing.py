"""What HTTP counts, as seen in the row: of real requests, malformed ones and failures, to the byte."""

from __future__ import annotations

import os
from typing import Any

import pytest

from prefork.core.figures import Record
from prefork.system.scoreboard import make_scoreboard
from prefork.worker.publishing import Publisher
from tests.serve.serving import serving, wait_until

CLOSE = b"\r\nConnection: close\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/fail":
        raise RuntimeError("as asked")
    status = 404 if scope["path"] == "/missing" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    if scope["path"] == "/chunked":
        await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        await send({"type": "http.response.body", "body": b"y" * 500})
    else:
        await send({"type": "http.response.body", "body": b"z" * 100})


def wsgi(environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError("as asked")
    start_response("404 Not Found" if environ["PATH_INFO"] == "/missing" else "200 OK", [])
    return iter([b"x" * 1000, b"y" * 500]) if environ["PATH_INFO"] == "/chunked" else [b"z" * 100]


@pytest.mark.parametrize("interface", ["asgi", "wsgi", "wsgi-threads"])
def test_the_row_has_every_response_by_its_class_every_byte_in_and_how_long_it_took(interface: str) -> None:
    asked = [
        b"GET / HTTP/1.1\r\nHost: a",
        b"HEAD / HTTP/1.1\r\nHost: a",
        b"GET /chunked HTTP/1.1\r\nHost: a",
        b"GET /missing HTTP/1.1\r\nHost: a",
        b"GET /fail HTTP/1.1\r\nHost: a",
        b"this is not HTTP",
    ]
    board = make_scoreboard()
    received = 0
    with serving(app if interface == "asgi" else wsgi, interface) as served:
        publisher = Publisher(board.row(2), served.service.counters)
        for request in asked:
            client = served.connect()
            client.send(request + CLOSE)
            received += len(client.read_to_end())
        wait_until(lambda: served.service.counters.requests == 5)
        served.call(publisher.publish)
        record = board.read(2)
    assert record.statuses == (0, 3, 0, 2, 1)
    assert (record.requests, sum(record.latency)) == (5, 5)
    assert record.bytes_in == sum(len(request + CLOSE) for request in asked)
    # What each head says at its end (date, server, connection) is not counted, nor the framing of chunks.
    assert received - 6 * 100 < record.bytes_out <= received
    os.close(board.fd)


def test_a_beat_at_which_nothing_happened_writes_nothing_but_the_busy_time() -> None:
    board = make_scoreboard()
    with serving(app) as served:
        publisher = Publisher(board.row(2), served.service.counters)
        served.connect().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: served.service.counters.requests == 1)
        served.call(publisher.publish)
        board.clear_row(2)
        served.call(publisher.publish)
        record = board.read(2)
    assert record == Record(busy_ns=record.busy_ns)
    assert record.busy_ns > 0
    os.close(board.fd)
