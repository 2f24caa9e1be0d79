"""What every service owes its worker, whatever the interface."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from prefork.config.model import Interface
from prefork.serve.opening import open_service
from prefork.serve.settings import ServeSettings
from prefork.system.scoreboard import CONNECTIONS, REQUESTS, make_scoreboard
from tests.serve.accepting import LOOPS, accepting, read_all, run_on, wait_until

ASK = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
SEEN_BY_THE_APP = [1, 1, 0]
"""One connection, one request in flight, none answered: the request that looks is the first."""
SEEN_AFTERWARDS = [0, 0]


@pytest.fixture
def cells() -> Iterator[memoryview]:
    board = make_scoreboard()
    yield board.row(1)[CONNECTIONS : REQUESTS + 1]
    os.close(board.fd)


@pytest.mark.parametrize("make_loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("interface", "threads"), [("asgi", 1), ("wsgi", 1), ("wsgi", 4), ("stream", 1), ("protocol", 1)]
)
def test_the_shared_cells_are_true_at_every_moment(
    make_loop: Any, interface: Interface, threads: int, cells: memoryview
) -> None:
    seen: list[list[int]] = []

    async def test() -> None:
        loop = asyncio.get_running_loop()
        app = make_app(interface, lambda: seen.append(cells.tolist()))
        service = open_service(app, interface, ServeSettings(threads=threads), loop)
        service.count_in(cells)
        async with accepting(service) as connect:
            reader, writer = await connect()
            writer.write(ASK)
            await read_all(reader)
            writer.close()
            await wait_until(lambda: cells.tolist()[:2] == SEEN_AFTERWARDS)
            assert service.counters.requests == 1

    run_on(make_loop, test())
    assert seen == [SEEN_BY_THE_APP]


def make_app(interface: Interface, look: Any) -> Any:
    """An app that looks once at every request, and ends it."""

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        look()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def wsgi(_environ: Any, start_response: Any) -> list[bytes]:
        look()
        start_response("200 OK", [])
        return [b""]

    async def stream(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        look()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, _data: bytes) -> None:
            look()
            self.transport.close()

    return {"asgi": asgi, "wsgi": wsgi, "stream": stream, "protocol": Protocol}[interface]
