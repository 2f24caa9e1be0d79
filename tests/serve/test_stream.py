from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import cast

import pytest

from prefork.serve.service import Service
from prefork.serve.settings import ServeSettings
from prefork.serve.stream import StreamHandler, StreamService
from tests.serve.accepting import LOOPS, Run, accepting, connect_pair, read_all, run_on, wait_until

PIECE = 65536
BIG = 128 * PIECE  # more than the kernel buffers


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda test: run_on(request.param, test)


def make_service(handler: StreamHandler) -> StreamService:
    return StreamService(handler, ServeSettings(), asyncio.get_running_loop())


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()


def read_counters(service: Service) -> tuple[int, int, int]:
    return service.counters.connections, service.counters.in_flight, service.counters.requests


@pytest.mark.parametrize("is_unix", [False, True], ids=["tcp", "unix"])
def test_a_handler_speaks_with_its_client_until_the_client_ends(
    run: Run, tmp_path: Path, *, is_unix: bool
) -> None:
    async def test() -> None:
        async with accepting(make_service(echo_lines), tmp_path / "socket" if is_unix else None) as connect:
            reader, writer = await connect()
            for line in (b"one\n", b"two\n"):
                writer.write(line)
                assert await reader.readline() == line
            writer.write(b"last")
            writer.write_eof()
            assert await read_all(reader) == b"last"

    run(test())


def test_what_a_handler_wrote_before_it_returned_arrives_whole_and_then_the_end(run: Run) -> None:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * BIG)

    async def test() -> None:
        service = make_service(handler)
        async with accepting(service) as connect:
            reader, _ = await connect()
            assert await read_all(reader) == b"x" * BIG
            await wait_until(lambda: read_counters(service) == (0, 0, 1))

    run(test())


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit(3), KeyboardInterrupt()])
def test_a_handler_that_raises_is_logged_once_and_costs_only_its_own_connection(
    run: Run, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline() == b"raise\n":
            writer.write(b"so far")
            raise error
        writer.write(b"fine")

    async def test() -> None:
        async with accepting(make_service(handler)) as connect:
            (reader, writer), (other_reader, other_writer) = await connect(), await connect()
            writer.write(b"raise\n")
            assert await read_all(reader) == b"so far"
            other_writer.write(b"go on\n")
            assert await read_all(other_reader) == b"fine"

    run(test())

    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "prefork.worker"
    assert record.getMessage().startswith(f"connection handler raised error={error!r} peer=('127.0.0.1', ")
    assert record.exc_info
    traceback = record.exc_info[2]
    assert traceback
    assert traceback.tb_frame.f_code.co_filename == __file__, "our own frame is shown"


def test_a_client_that_leaves_in_the_middle_is_no_error_of_the_handlers(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)

    async def test() -> None:
        service = make_service(handler)
        async with accepting(service) as connect:
            (_, closing), (_, aborting) = await connect(), await connect()
            closing.write(b"half")
            aborting.write(b"half")
            await wait_until(lambda: service.counters.in_flight == 2)
            closing.close()
            aborting.transport.abort()
            await wait_until(lambda: read_counters(service) == (0, 0, 2))

    run(test())

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_drain_leaves_open_connections_to_their_handlers_and_waits_for_the_last(run: Run) -> None:
    async def test() -> None:
        service = make_service(echo_lines)
        async with accepting(service) as connect:
            await asyncio.wait_for(service.wait_drained(), 1)
            (reader, writer), (other_reader, other_writer) = await connect(), await connect()
            await wait_until(lambda: read_counters(service) == (2, 2, 0))

            service.drain()
            service.drain()
            drained = asyncio.ensure_future(service.wait_drained())
            writer.write_eof()
            assert await read_all(reader) == b""
            await wait_until(lambda: read_counters(service) == (1, 1, 1))
            other_writer.write(b"still served\n")
            assert await other_reader.readline() == b"still served\n"
            assert not drained.done()

            other_writer.write_eof()
            await drained
            assert read_counters(service) == (0, 0, 2)

    run(test())


def test_a_handler_that_cleans_up_after_its_client_left_is_waited_for(run: Run) -> None:
    async def test() -> None:
        cleaned_up = asyncio.Event()

        async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # A write is what finds out that nobody is there: an end of stream may be half of a conversation.
            with suppress(ConnectionError):
                while True:
                    writer.write(b"are you there?" * 8192)
                    await writer.drain()
            await cleaned_up.wait()

        service = make_service(handler)
        async with accepting(service) as connect:
            _, writer = await connect()
            await wait_until(lambda: service.counters.in_flight == 1)
            writer.transport.abort()
            await wait_until(lambda: read_counters(service) == (0, 1, 0))
            drained = asyncio.ensure_future(service.wait_drained())
            assert not drained.done()
            cleaned_up.set()
            await drained

    run(test())


def test_cut_aborts_every_connection_and_says_how_many_were_served(run: Run) -> None:
    begun, cancelled = [], []

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        begun.append(reader)
        try:
            await reader.read()
        except asyncio.CancelledError:
            cancelled.append(reader)
            raise

    async def test() -> None:
        service = make_service(handler)
        async with accepting(service) as connect:
            readers = [(await connect())[0] for _ in range(3)]
            await wait_until(lambda: len(begun) == 3)

            assert service.cut() == 3
            await service.wait_drained()
            assert [await read_all(reader) for reader in readers] == [b""] * 3
            assert len(cancelled) == 3
            assert read_counters(service) == (0, 0, 3)
            assert service.cut() == 0

    run(test())


def test_a_connection_cut_before_its_handler_took_a_step_is_closed_and_counted_out(run: Run) -> None:
    async def test() -> None:
        service = make_service(echo_lines)
        protocol = service.open_connection()
        made = protocol.connection_made

        def make_and_cut(transport: asyncio.BaseTransport) -> None:
            made(transport)
            assert service.cut() == 1

        vars(protocol)["connection_made"] = make_and_cut
        client = await connect_pair(lambda: protocol)
        assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        await service.wait_drained()
        assert read_counters(service) == (0, 0, 1)
        client.close()

    run(test())


def test_what_one_handler_sets_in_its_context_no_other_sees(run: Run) -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{name.get()}\n".encode())
        name.set((await reader.readline()).decode().strip())
        await reader.readline()
        writer.write(name.get().encode())

    async def test() -> None:
        name.set("worker")
        async with accepting(make_service(handler)) as connect:
            name.set("after the service was made")
            clients = [await connect() for _ in range(2)]
            for number, (reader, writer) in enumerate(clients):
                assert await reader.readline() == b"worker\n"
                writer.write(f"client {number}\n".encode())
            for number, (reader, writer) in enumerate(clients):
                writer.write(b"\n")
                assert await read_all(reader) == f"client {number}".encode()

    run(test())


def test_a_client_that_does_not_read_stalls_the_handler(run: Run) -> None:
    async def test() -> None:
        writers: list[asyncio.StreamWriter] = []
        written = 0

        async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            writers.append(writer)
            for _piece in range(BIG // PIECE):
                writer.write(b"x" * PIECE)
                await writer.drain()
                written += PIECE

        service = make_service(handler)
        client = await connect_pair(service.open_connection)
        # Past the high-water mark, and nobody reads: it can only stay so.
        await wait_until(lambda: bool(writers) and writers[0].transport.get_write_buffer_size() >= PIECE)
        assert written < BIG // 4
        assert await receive_all(client) == b"x" * BIG
        await service.wait_drained()

    run(test())


def test_a_handler_that_does_not_read_stalls_its_client(run: Run) -> None:
    async def test() -> None:
        transports: list[asyncio.Transport] = []
        go_on = asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transports.append(cast("asyncio.Transport", writer.transport))
            await go_on.wait()
            assert await reader.readexactly(BIG) == b"y" * BIG
            writer.write(b"all of it")

        service = make_service(handler)
        client = await connect_pair(service.open_connection)
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(client, b"y" * BIG))
        await wait_until(lambda: bool(transports) and not transports[0].is_reading())
        assert not sending.done()
        go_on.set()
        await sending
        assert await receive_all(client) == b"all of it"

    run(test())


def test_a_client_that_takes_nothing_cannot_hold_a_connection_whose_handler_has_ended(run: Run) -> None:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * BIG)

    async def test() -> None:
        service = make_service(handler)
        service.flush_stall_s = 0.05
        client = await connect_pair(service.open_connection)
        await service.wait_drained()
        assert read_counters(service) == (0, 0, 1)
        assert len(await receive_all(client)) < BIG

    run(test())


async def receive_all(client: socket.socket) -> bytes:
    received = bytearray()
    with suppress(ConnectionError):
        while piece := await asyncio.get_running_loop().sock_recv(client, 65536):
            received += piece
    client.close()
    return bytes(received)
