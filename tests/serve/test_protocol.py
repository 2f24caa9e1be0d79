from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from prefork.serve.protocol import ProtocolFactory, ProtocolService
from prefork.serve.settings import ServeSettings
from tests.serve.accepting import LOOPS, Run, accepting, connect_pair, read_all, run_on, wait_until


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda test: run_on(request.param, test)


def make_service(factory: Callable[[], object]) -> ProtocolService:
    return ProtocolService(cast("ProtocolFactory", factory), ServeSettings(), asyncio.get_running_loop())


def read_counters(service: ProtocolService) -> tuple[int, int, int]:
    return service.counters.connections, service.counters.in_flight, service.counters.requests


class Echo(asyncio.Protocol):
    """Sends back what comes, and `bye` when the client has ended."""

    transport: asyncio.Transport
    lost: object = "not lost"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.transport.write(b"bye")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


class SlottedEcho(asyncio.Protocol):
    __slots__ = ("transport",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.transport.write(b"bye")
        return False


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(1024)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.buffer[:nbytes])

    def eof_received(self) -> bool:
        self.transport.write(b"bye")
        return False


class SlottedBufferedEcho(asyncio.BufferedProtocol):
    __slots__ = ("buffer", "transport")

    __init__ = BufferedEcho.__init__
    connection_made = BufferedEcho.connection_made
    get_buffer = BufferedEcho.get_buffer
    buffer_updated = BufferedEcho.buffer_updated
    eof_received = BufferedEcho.eof_received


@pytest.mark.parametrize("is_unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("protocol", [Echo, SlottedEcho, BufferedEcho, SlottedBufferedEcho])
def test_a_protocol_of_any_kind_speaks_with_its_client_and_is_counted(
    run: Run, tmp_path: Path, protocol: type[asyncio.BaseProtocol], *, is_unix: bool
) -> None:
    async def test() -> None:
        service = make_service(protocol)
        async with accepting(service, tmp_path / "socket" if is_unix else None) as connect:
            (reader, writer), (other_reader, other_writer) = await connect(), await connect()
            for data in (b"one", b"two"):
                writer.write(data)
                assert await reader.readexactly(3) == data
            await wait_until(lambda: read_counters(service) == (2, 2, 0))
            writer.write_eof()
            assert await read_all(reader) == b"bye"
            await wait_until(lambda: read_counters(service) == (1, 1, 1))
            other_writer.write_eof()
            assert await read_all(other_reader) == b"bye"
            await service.wait_drained()
            assert read_counters(service) == (0, 0, 2)

    run(test())


def test_the_transport_gets_the_apps_own_object_and_calls_its_own_data_received(run: Run) -> None:
    async def test() -> None:
        echo = Echo()
        service = make_service(lambda: echo)
        assert service.open_connection() is echo
        assert sorted(vars(echo)) == ["connection_lost", "connection_made"]

        client = await connect_pair(lambda: echo)
        assert echo.transport.get_protocol() is echo
        client.close()
        await service.wait_drained()
        assert echo.lost != "not lost"
        assert sorted(vars(echo)) == ["lost", "transport"]

    run(test())


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: 1 / 0, "protocol factory raised error=ZeroDivisionError('division by zero')"),
        (lambda: raise_exit(), "protocol factory raised error=SystemExit(3)"),  # noqa: PLW0108
        (lambda: None, "protocol factory made no asyncio.Protocol made=NoneType"),
    ],
)
def test_a_factory_that_fails_is_logged_and_costs_only_that_connection(
    run: Run, caplog: pytest.LogCaptureFixture, factory: Callable[[], object], message: str
) -> None:
    async def test() -> None:
        factories = [factory, Echo]

        def make_next() -> object:
            return factories.pop(0)()

        service = make_service(make_next)
        async with accepting(service) as connect:
            reader, _ = await connect()
            assert await read_all(reader) == b""
            reader, writer = await connect()
            writer.write(b"served")
            assert await reader.readexactly(6) == b"served"
            assert read_counters(service) == (1, 1, 0)

    run(test())

    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("prefork.worker", logging.ERROR, message)


def raise_exit() -> object:
    raise SystemExit(3)


def test_a_protocol_that_raises_when_it_is_connected_has_its_connection_closed(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise RuntimeError("broken")

    async def test() -> None:
        service = make_service(Broken)
        async with accepting(service) as connect:
            reader, _ = await connect()
            assert await read_all(reader) == b""
            await wait_until(lambda: read_counters(service) == (0, 0, 1))

    run(test())

    (record,) = caplog.records
    assert record.getMessage() == "connection_made raised error=RuntimeError('broken')"
    assert record.exc_info
    assert record.exc_info[2]
    assert record.exc_info[2].tb_frame.f_code.co_filename == __file__, "our own frame is shown"


def test_drain_waits_for_the_last_connection_and_cut_aborts_what_is_left(run: Run) -> None:
    async def test() -> None:
        service = make_service(Echo)
        async with accepting(service) as connect:
            await asyncio.wait_for(service.wait_drained(), 1)
            clients = [await connect() for _ in range(3)]
            await wait_until(lambda: service.counters.connections == 3)

            service.drain()
            service.drain()
            drained = asyncio.ensure_future(service.wait_drained())
            clients[0][1].write_eof()
            assert await read_all(clients[0][0]) == b"bye"
            clients[1][1].write(b"still served")
            assert await clients[1][0].readexactly(12) == b"still served"
            assert not drained.done()

            assert service.cut() == 2
            await drained
            assert [await read_all(reader) for reader, _ in clients[1:]] == [b"", b""]
            assert read_counters(service) == (0, 0, 3)

    run(test())


def test_one_object_for_many_connections_is_counted_once_for_each(run: Run) -> None:
    class Hub(asyncio.Protocol):
        def __init__(self) -> None:
            self.events: list[str] = []

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.events.append("made")
            cast("asyncio.Transport", transport).write(b"hello")

        def connection_lost(self, exc: Exception | None) -> None:
            self.events.append("lost")

    async def test() -> None:
        hub = Hub()
        service = make_service(lambda: hub)
        async with accepting(service) as connect:
            clients = [await connect() for _ in range(3)]
            for reader, _ in clients:
                assert await reader.readexactly(5) == b"hello"
            assert read_counters(service) == (3, 3, 0)
            for number, (_, writer) in enumerate(clients, 1):
                writer.close()
                await wait_until(lambda n=number: read_counters(service) == (3 - n, 3 - n, n))  # type: ignore[misc]  # a default in a lambda has no type
            reader, _ = await connect()
            assert await reader.readexactly(5) == b"hello"
            assert hub.events == ["made"] * 3 + ["lost"] * 3 + ["made"]

    run(test())


class Switching(asyncio.Protocol):
    """Hands its transport to another protocol at the first byte, as an upgrade does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        successor = Echo()
        self.transport.set_protocol(successor)
        successor.connection_made(self.transport)
        successor.data_received(data)


def test_a_connection_that_changed_its_protocol_is_counted_out_when_it_ends(run: Run) -> None:
    async def test() -> None:
        service = make_service(Switching)
        async with accepting(service) as connect:
            reader, writer = await connect()
            writer.write(b"switch")
            assert await reader.readexactly(6) == b"switch"
            drained = asyncio.ensure_future(service.wait_drained())
            writer.write(b"after")
            assert await reader.readexactly(5) == b"after"
            assert not drained.done()
            writer.write_eof()
            assert await read_all(reader) == b"bye"
            await drained
            assert read_counters(service) == (0, 0, 1)

    run(test())


def test_connections_that_changed_their_protocol_do_not_pile_up(run: Run) -> None:
    async def test() -> None:
        service = make_service(Switching)
        most = 0
        async with accepting(service) as connect:
            for _ in range(200):
                reader, writer = await connect()
                writer.write(b"x")
                writer.write_eof()
                assert await read_all(reader) == b"xbye"
                most = max(most, service.counters.connections)
            await service.wait_drained()
            assert read_counters(service) == (0, 0, 200)
        assert most <= 64

    run(test())


def test_a_connection_that_gets_a_new_transport_for_tls_is_still_one(run: Run) -> None:
    async def test() -> None:
        echo = Echo()
        service = make_service(lambda: echo)
        client = await connect_pair(service.open_connection)
        # What asyncio's SSLProtocol does to the app's protocol when TLS starts in the middle.
        echo.connection_made(echo.transport)
        assert read_counters(service) == (1, 1, 0)
        client.close()
        await service.wait_drained()
        assert read_counters(service) == (0, 0, 1)

    run(test())
