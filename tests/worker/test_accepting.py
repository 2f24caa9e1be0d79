"""The accept path with a service of a few lines: who gets a connection, and what happens when none can be had."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from prefork.serve.access_log import AccessLog
from prefork.serve.service import Cells, Counters
from prefork.system import clock
from prefork.system.scoreboard import TICK, Scoreboard, make_scoreboard
from prefork.worker.accepting import Acceptor
from prefork.worker.herding import Herding
from tests.serve.accepting import LOOPS, Run, run_on, wait_until
from tests.system.children import list_fds, run_python

TIMEOUT_S = 10.0


class GreetingService:
    """Says hello on every connection and closes it. Stands for a `Service` where only connections are opened."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.opened = 0

    def open_connection(self) -> asyncio.BaseProtocol:
        self.opened += 1
        return Greeter()

    def count_in(self, cells: Cells) -> None:
        raise NotImplementedError

    def log_access(self, log: AccessLog) -> None:
        raise NotImplementedError

    async def start_up(self) -> None:
        raise NotImplementedError

    def drain(self) -> None:
        raise NotImplementedError

    def hear_by(self, catch_up: object) -> None:
        raise NotImplementedError

    def ask_to_leave(self, count: int) -> int:
        raise NotImplementedError

    async def wait_drained(self) -> None:
        raise NotImplementedError

    def cut(self) -> int:
        raise NotImplementedError

    async def shut_down(self) -> None:
        raise NotImplementedError


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)
        stream.write(b"hello")
        stream.close()


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda test: run_on(request.param, test)


@pytest.fixture(scope="module", autouse=True)
def _loops_have_run() -> None:
    """The pipe for signals that uvloop opens with its first loop is nobody's leak."""
    for make_loop in LOOPS:
        run_on(make_loop, asyncio.sleep(0))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    before = list_fds()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setblocking(False)
    yield listener
    listener.close()
    assert list_fds() <= before, "every descriptor was given back"


@pytest.fixture
def clients(listener: socket.socket) -> Iterator[list[socket.socket]]:
    """Eight that wait in the backlog."""
    with ExitStack() as opened:
        yield [opened.enter_context(socket.create_connection(listener.getsockname())) for _ in range(8)]


def read_all(client: socket.socket) -> bytes:
    client.settimeout(TIMEOUT_S)
    data = b""
    while piece := client.recv(100):
        data += piece
    return data


def make_acceptor(service: GreetingService, listener: socket.socket) -> Acceptor:
    """Polls a copy of the listener, as each worker does."""
    return Acceptor(asyncio.get_running_loop(), service, {1: os.dup(listener.fileno())})


def test_whoever_is_woken_first_leaves_the_rest_to_the_others(
    run: Run, listener: socket.socket, clients: list[socket.socket]
) -> None:
    async def test() -> None:
        services = [GreetingService(), GreetingService()]
        acceptors = [make_acceptor(service, listener) for service in services]
        for acceptor in acceptors:
            acceptor.start()
        await wait_until(lambda: sum(service.opened for service in services) == len(clients))
        assert [service.opened for service in services] == [4, 4], "one accept per wake-up"
        for acceptor in acceptors:
            await acceptor.wait_connected()
            acceptor.close()

    run(test())
    assert [read_all(client) for client in clients] == [b"hello"] * len(clients)


def test_an_acceptor_that_left_rotation_takes_nothing_until_it_starts_again(
    run: Run, listener: socket.socket, clients: list[socket.socket]
) -> None:
    async def test() -> None:
        service, other = GreetingService(), GreetingService()
        left, polling = make_acceptor(service, listener), make_acceptor(other, listener)
        left.start()
        left.pause()
        polling.start()
        await wait_until(lambda: other.opened == len(clients))
        assert service.opened == 0
        polling.pause()
        left.start()
        with socket.create_connection(listener.getsockname()):
            await wait_until(lambda: service.opened == 1)
        for acceptor in (left, polling):
            await acceptor.wait_connected()
            acceptor.close()

    run(test())


def test_finishing_takes_everything_that_waits_and_closes_our_copies(
    run: Run, listener: socket.socket, clients: list[socket.socket]
) -> None:
    async def test() -> None:
        service = GreetingService()
        acceptor = make_acceptor(service, listener)
        acceptor.finish()
        with pytest.raises(BlockingIOError):
            listener.accept()  # nothing is left
        await acceptor.wait_connected()
        assert service.opened == len(clients)
        await acceptor.wait_connected()
        acceptor.close()

    run(test())
    assert [read_all(client) for client in clients] == [b"hello"] * len(clients)


def test_a_listener_that_the_service_leaves_is_emptied_and_closed_and_the_others_go_on(
    run: Run, listener: socket.socket, clients: list[socket.socket]
) -> None:
    async def test() -> None:
        service = GreetingService()
        with socket.create_server(("127.0.0.1", 0)) as kept:
            copies = {3: os.dup(listener.fileno()), 4: os.dup(kept.fileno())}
            acceptor = Acceptor(asyncio.get_running_loop(), service, copies)
            acceptor.start()
            acceptor.unlisten(3)
            with pytest.raises(BlockingIOError):
                listener.accept()  # nothing is left
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(copies[3])
            acceptor.unlisten(3)
            acceptor.unlisten(99)  # one that was never ours
            with socket.create_connection(kept.getsockname()):
                await wait_until(lambda: service.opened == len(clients) + 1)
            await acceptor.wait_connected()
            acceptor.close()

    run(test())
    assert [read_all(client) for client in clients] == [b"hello"] * len(clients)


def test_one_that_is_not_ready_yet_empties_such_a_listener_when_it_is(
    run: Run, listener: socket.socket, clients: list[socket.socket]
) -> None:
    async def test() -> None:
        service = GreetingService()
        acceptor = make_acceptor(service, listener)
        acceptor.unlisten(1)
        acceptor.start()
        with pytest.raises(BlockingIOError):
            listener.accept()
        await acceptor.wait_connected()
        acceptor.close()

    run(test())
    assert [read_all(client) for client in clients] == [b"hello"] * len(clients)


def test_one_that_left_rotation_closes_such_a_listener_and_takes_nothing(
    run: Run, listener: socket.socket, clients: list[socket.socket]
) -> None:
    async def test() -> None:
        service = GreetingService()
        acceptor = make_acceptor(service, listener)
        acceptor.start()
        acceptor.pause()
        acceptor.unlisten(1)
        await acceptor.wait_connected()
        assert service.opened == 0
        acceptor.close()
        for _ in clients:
            listener.accept()[0].close()  # all of them are left to the others

    run(test())


def test_a_client_that_left_before_its_turn_costs_nobody_anything(
    run: Run, listener: socket.socket, clients: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    for client in clients[:4]:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    async def test() -> None:
        acceptor = make_acceptor(GreetingService(), listener)
        acceptor.finish()
        await acceptor.wait_connected()

    run(test())
    assert [read_all(client) for client in clients[4:]] == [b"hello"] * 4
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_connection_that_cannot_be_opened_is_logged_and_costs_only_itself(
    run: Run, listener: socket.socket, clients: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    class FirstFails(GreetingService):
        def open_connection(self) -> asyncio.BaseProtocol:
            protocol = super().open_connection()
            if self.opened == 1:
                raise RuntimeError("broken")
            return protocol

    async def test() -> None:
        acceptor = make_acceptor(FirstFails(), listener)
        acceptor.start()
        await wait_until(lambda: bool(caplog.records))
        acceptor.finish()
        await acceptor.wait_connected()

    run(test())
    assert sorted(read_all(client) for client in clients) == [b"", *[b"hello"] * 7]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["a connection could not be opened"]


@pytest.fixture(scope="module")
def board() -> Iterator[Scoreboard]:
    """For the whole module: its mapping holds a descriptor of its own, as long as anybody has a row."""
    board = make_scoreboard()
    yield board
    os.close(board.fd)


@pytest.fixture
def herd(board: Scoreboard) -> list[Herding]:
    """Two workers that run, with no connections."""
    board.rows_used = 2
    for row in (0, 1):
        board.clear_row(row)
        board.row(row)[TICK] = clock.monotonic_ns()
    return [Herding(board, 0, limit=8), Herding(board, 1, limit=8)]


def test_the_lighter_worker_takes_what_waits_although_the_heavier_was_woken_first(
    run: Run, herd: list[Herding], listener: socket.socket
) -> None:
    async def test() -> None:
        services = [GreetingService(), GreetingService()]
        loop = asyncio.get_running_loop()
        acceptors = [
            Acceptor(loop, service, {1: os.dup(listener.fileno())}, herding)
            for service, herding in zip(services, herd, strict=True)
        ]
        for _ in range(3):
            herd[0].note_accepted()  # it has three
        for acceptor in acceptors:
            acceptor.start()
        for number in (1, 2, 3):
            with socket.create_connection(listener.getsockname()):
                await wait_until(lambda n=number: services[1].opened == n)  # type: ignore[misc]
                herd[1].note_accepted()  # and it stays
        assert services[0].opened == 0
        for acceptor in acceptors:
            await acceptor.wait_connected()
            acceptor.close()

    run(test())


def test_a_full_worker_leaves_rotation_and_comes_back_when_it_has_room(
    run: Run, herd: list[Herding], listener: socket.socket, clients: list[socket.socket]
) -> None:
    async def test() -> None:
        service, herding = GreetingService(), herd[0]
        for _ in range(8):
            herding.note_accepted()
        acceptor = Acceptor(asyncio.get_running_loop(), service, {1: os.dup(listener.fileno())}, herding)
        acceptor.start()
        assert herding.is_in_rotation()
        await wait_until(lambda: not herding.is_in_rotation())
        assert service.opened == 0, "the clients wait in the backlog"
        herding.note_opened()
        await wait_until(lambda: service.opened == len(clients))
        assert herding.is_in_rotation()
        await acceptor.wait_connected()
        acceptor.close()
        assert not herding.is_in_rotation()

    run(test())
    assert [read_all(client) for client in clients] == [b"hello"] * len(clients)


OUT_OF_DESCRIPTORS = """
import asyncio, logging, os, resource, socket, sys
from prefork.worker.accepting import PAUSE_S, Acceptor
from tests.worker.test_accepting import LOOPS, GreetingService, read_all, run_on, wait_until

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
logging.raiseExceptions = False
listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
client = socket.create_connection(listener.getsockname())

class CountingAcceptor(Acceptor):
    tries = 0

    def _accept(self, listener):
        self.tries += 1
        return super()._accept(listener)

def take_all():
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return taken

async def test():
    loop, service = asyncio.get_running_loop(), GreetingService()
    acceptor = CountingAcceptor(loop, service, {1: os.dup(listener.fileno())})
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    taken = take_all()
    acceptor.start()
    await run(loop, service, acceptor, taken)
    acceptor.close()
"""
RESUMES = """
async def run(loop, service, acceptor, taken):
    began = loop.time()
    await wait_until(lambda: acceptor.tries == 5)
    print("looked again after a pause each:", loop.time() - began >= 3.9 * PAUSE_S)
    for fd in taken:
        os.close(fd)
    await wait_until(lambda: service.opened == 1)
    await acceptor.wait_connected()
"""
LEAVES = """
async def run(loop, service, acceptor, taken):
    await wait_until(lambda: acceptor.tries == 1)
    acceptor.pause()
    for fd in taken:
        os.close(fd)
    # Long enough for it to come back, which it must not.
    await asyncio.wait([loop.create_future()], timeout=3 * PAUSE_S)
    print(acceptor.tries, service.opened)
"""


@pytest.mark.parametrize("loop", [0, 1], ids=["asyncio", "uvloop"])
def test_out_of_descriptors_it_waits_says_so_once_and_recovers(loop: int) -> None:
    code = OUT_OF_DESCRIPTORS + RESUMES + f"run_on(LOOPS[{loop}], test())\nprint(read_all(client))"
    assert run_python(code).splitlines() == [
        "WARNING cannot accept: Too many open files",
        "looked again after a pause each: True",
        "b'hello'",
    ]


UNLISTENS = """
async def run(loop, service, acceptor, taken):
    acceptor.unlisten(1)
    print(service.opened)
    for fd in taken:
        os.close(fd)
    await wait_until(lambda: service.opened == 1)
    await acceptor.wait_connected()
    await wait_until(lambda: not acceptor._listeners)
"""


@pytest.mark.parametrize("loop", [0, 1], ids=["asyncio", "uvloop"])
def test_out_of_descriptors_a_listener_is_left_only_when_it_is_empty(loop: int) -> None:
    code = OUT_OF_DESCRIPTORS + UNLISTENS + f"run_on(LOOPS[{loop}], test())\nprint(read_all(client))"
    assert run_python(code).splitlines() == [
        "WARNING cannot accept: Too many open files",
        "0",
        "b'hello'",
    ]


@pytest.mark.parametrize("loop", [0, 1], ids=["asyncio", "uvloop"])
def test_one_that_leaves_rotation_while_it_waits_for_descriptors_does_not_come_back(loop: int) -> None:
    code = OUT_OF_DESCRIPTORS + LEAVES + f"run_on(LOOPS[{loop}], test())"
    assert run_python(code).splitlines() == ["WARNING cannot accept: Too many open files", "1 0"]
