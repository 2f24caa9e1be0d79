"""What a worker does with a service, in a few lines: accept, hand over. On both loops, over TCP and unix sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import uvloop

from prefork.serve.service import Service

DEADLINE_S = 10.0

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Run = Callable[[Coroutine[Any, Any, None]], None]

LOOPS: tuple[Callable[[], asyncio.AbstractEventLoop], ...] = (asyncio.new_event_loop, uvloop.new_event_loop)


def run_on(make_loop: Callable[[], asyncio.AbstractEventLoop], test: Coroutine[Any, Any, None]) -> None:
    """Run one test to its end, then whatever it left behind."""
    loop = make_loop()
    # Where a loop tells what nobody caught; a service leaves nothing to it.
    untold: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: untold.append(context))
    try:
        loop.run_until_complete(_run_bounded(test))
    finally:
        loop.close()
    assert untold == []


async def _run_bounded(test: Coroutine[Any, Any, None]) -> None:
    await asyncio.wait_for(test, DEADLINE_S)
    leftovers = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
    for task in leftovers:
        task.cancel()
    await asyncio.gather(*leftovers, return_exceptions=True)


@asynccontextmanager
async def accepting(service: Service, path: Path | None = None) -> AsyncIterator[Connect]:
    """Serve on a free loopback port, or on the unix socket `path`; gives what connects to it."""
    loop = asyncio.get_running_loop()
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.setblocking(False)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    listener.listen()
    clients: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if path:
            reader, writer = await asyncio.open_unix_connection(str(path))
        else:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
        clients.append(writer)
        return reader, writer

    async def accept() -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            await loop.connect_accepted_socket(service.open_connection, sock)

    acceptor = asyncio.ensure_future(accept())
    try:
        yield connect
    finally:
        acceptor.cancel()
        with suppress(asyncio.CancelledError):
            await acceptor
        for writer in clients:
            writer.transport.abort()
        service.cut()
        await service.wait_drained()
        await service.shut_down()
        listener.close()


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return when `condition()` holds; fail after the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE_S
    while not condition():
        assert loop.time() < end, "the condition never held"
        await asyncio.sleep(0.002)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Everything until the end of the stream; a reset counts as the end."""
    received = bytearray()
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            received += piece
    return bytes(received)


async def connect_pair(open_connection: Callable[[], asyncio.BaseProtocol]) -> socket.socket:
    """One connection without a listener, whose client reads nothing by itself: buffers are small and fill."""
    server, client = socket.socketpair()
    client.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(open_connection, server)
    return client
