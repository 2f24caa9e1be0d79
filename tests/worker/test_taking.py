"""The other way in: what the master hands over is acknowledged, connected, counted, and nothing else is touched."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from array import array
from collections.abc import Iterator

import pytest

from prefork.system.handover import Acknowledged, Outlet, open_handover
from prefork.system.scoreboard import ROW_NUMBERS, TAKEN
from prefork.worker.accepting import Acceptor
from prefork.worker.taking import Taker
from tests.serve.accepting import LOOPS, Run, run_on, wait_until
from tests.system.children import list_fds
from tests.worker.test_accepting import GreetingService, read_all


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda test: run_on(request.param, test)


@pytest.fixture(scope="module", autouse=True)
def _loops_have_run() -> None:
    """The pipe for signals that uvloop opens with its first loop is nobody's leak."""
    for make_loop in LOOPS:
        run_on(make_loop, asyncio.sleep(0))


@pytest.fixture
def outlet() -> Iterator[Outlet]:
    before = list_fds()
    outlet = open_handover()
    yield outlet
    outlet.close()
    assert list_fds() <= before, "every descriptor was given back"


class Side:
    """One worker's side, and what it has counted."""

    def __init__(self, outlet: Outlet, service: GreetingService | None = None) -> None:
        self.service = service or GreetingService()
        loop = asyncio.get_running_loop()
        self.row = memoryview(array("Q", [0] * ROW_NUMBERS))
        self.acceptor = Acceptor(loop, self.service, {}, polls=False)
        self.taker = Taker(loop, self.acceptor, self.row, os.dup(outlet.theirs.fileno()))

    async def close(self) -> None:
        await self.acceptor.wait_connected()
        self.taker.close()
        self.taker.close()


def hand_over(outlet: Outlet, sequence: int, count: int) -> list[socket.socket]:
    pairs = [socket.socketpair() for _ in range(count)]
    assert outlet.send(sequence, [far.fileno() for _, far in pairs])
    for _, far in pairs:
        far.close()
    return [near for near, _ in pairs]


def test_what_is_handed_over_is_acknowledged_served_and_counted(run: Run, outlet: Outlet) -> None:
    clients = []

    async def test() -> None:
        side = Side(outlet)
        clients.extend(hand_over(outlet, 1, 3))
        clients.extend(hand_over(outlet, 2, 1))
        await wait_until(lambda: side.row[TAKEN] == 4)
        assert side.service.opened == 4
        assert [outlet.receive(), outlet.receive(), outlet.receive()] == [
            Acknowledged(1, 3),
            Acknowledged(2, 1),
            None,
        ]
        await side.close()

    run(test())
    assert [read_all(client) for client in clients] == [b"hello"] * 4
    for client in clients:
        client.close()


def test_it_is_acknowledged_before_anything_else_is_done_with_it(run: Run, outlet: Outlet) -> None:
    async def test() -> None:
        heard: list[Acknowledged | None] = []

        class Late(GreetingService):
            def open_connection(self) -> asyncio.BaseProtocol:
                heard.append(outlet.receive())
                return super().open_connection()

        side = Side(outlet, Late())
        [client] = hand_over(outlet, 1, 1)
        with client:
            side.taker.take_all()
            await wait_until(lambda: side.row[TAKEN] == 1)
            assert heard == [Acknowledged(1, 1)]
            await side.close()

    run(test())


def test_what_the_master_takes_back_is_never_served_here(run: Run, outlet: Outlet) -> None:
    async def test() -> None:
        side = Side(outlet)
        [client] = hand_over(outlet, 1, 1)
        assert outlet.take_back() == [1]
        outlet.send(2, ())
        acknowledged: list[Acknowledged] = []

        def is_probed() -> bool:
            if (word := outlet.receive()) is not None:
                acknowledged.append(word)
            return bool(acknowledged)

        await wait_until(is_probed)
        assert acknowledged == [Acknowledged(2, 0)]
        assert side.service.opened == 0
        assert read_all(client) == b"", "no copy is left anywhere"
        client.close()
        await side.close()

    run(test())


def test_while_it_cannot_be_acknowledged_nothing_is_touched(run: Run, outlet: Outlet) -> None:
    async def test() -> None:
        side = Side(outlet)
        sent = 0
        with socket.socket(fileno=os.dup(outlet.theirs.fileno())) as theirs:
            while True:  # a master that hears nothing
                try:
                    theirs.send(b"x" * 12)
                except BlockingIOError:
                    break
                sent += 1
        assert sent
        [client] = hand_over(outlet, 1, 1)
        side.taker.take_all()
        assert read_all(client) == b""
        assert side.service.opened == 0
        client.close()
        await side.close()

    run(test())


def test_without_descriptors_it_says_how_many_it_has(
    run: Run, outlet: Outlet, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        side = Side(outlet)
        clients = hand_over(outlet, 1, 3)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = min(set(range(1000)) - set(list_fds()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
        try:
            side.taker.take_all()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert outlet.receive() == Acknowledged(1, 1)
        await wait_until(lambda: side.row[TAKEN] == 1)
        assert [read_all(client) for client in clients] == [b"hello", b"", b""]
        for client in clients:
            client.close()
        await side.close()

    run(test())
    assert caplog.messages == ["cannot take connections: too many open files"]


def test_when_the_master_is_gone_the_inlet_is_closed_and_wakes_nobody(run: Run) -> None:
    async def test() -> None:
        outlet = open_handover()
        side = Side(outlet)
        [client] = hand_over(outlet, 1, 1)
        outlet.close()
        await wait_until(lambda: side.taker.fileno() < 0)
        await wait_until(lambda: side.row[TAKEN] == 1)
        assert read_all(client) == b"hello"
        client.close()
        await side.close()

    run(test())
