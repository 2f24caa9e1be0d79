"""Whoever is connected when a worker drains is served to the end, whatever is half-way, however the drain came about.

Every interface × every way of draining. A scene is one client: what it does before its first `yield` happens before
the drain, the rest while the worker drains. All scenes play on every worker at once, each in a thread of its own.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import pytest

from prefork.errors import refuse_unreachable
from tests.integration.conftest import Start
from tests.integration.http_client import Connection, CutError, Response
from tests.integration.running import Running, read_title, wait_until

Scene = Callable[[Connection], Generator[None, None, None]]
Way = Literal["reload", "scale down", "stop", "one worker"]

WORKERS = 2
HOST = "Host: test\r\n"
GET = f"GET / HTTP/1.1\r\n{HOST}\r\n".encode()
BODY = b"dribbled, byte by byte"
STREAM = b"".join(bytes([65 + number % 26]) * 65536 for number in range(128))
GRACEFUL_S = 2.0
LAST_CHUNK = b"0\r\n\r\n"
KEPT_OF_GRACEFUL = 0.9
"""The rest of the graceful time is for the app's own shutdown."""


# The scenes of HTTP.


def fresh(client: Connection) -> Generator[None, None, None]:
    yield
    assert_last(client, client.request())


def idle(client: Connection) -> Generator[None, None, None]:
    assert not client.request().says_close()
    yield
    assert_last(client, client.request())


def half_sent_head(client: Connection) -> Generator[None, None, None]:
    client.send(GET[:20])
    yield
    client.send(GET[20:])
    assert_last(client, client.read_response())


def first_byte_of_a_second_request(client: Connection) -> Generator[None, None, None]:
    client.send(GET + GET[:1])
    assert not client.read_response().says_close()
    yield
    client.send(GET[1:])
    assert_last(client, client.read_response())


def dribbled_body(client: Connection) -> Generator[None, None, None]:
    client.send(f"POST / HTTP/1.1\r\n{HOST}Content-Length: {len(BODY)}\r\n\r\n".encode())
    send_dribbling(client, BODY[:8])
    yield
    send_dribbling(client, BODY[8:])
    assert_last(client, client.read_response(), BODY)


def dribbled_chunks(client: Connection) -> Generator[None, None, None]:
    coded = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    client.send(f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n".encode())
    send_dribbling(client, coded[:9])
    yield
    send_dribbling(client, coded[9:])
    assert_last(client, client.read_response(), BODY)


def expectation_met_before(client: Connection) -> Generator[None, None, None]:
    send_expecting(client)
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    yield
    client.send(BODY)
    assert_last(client, client.read_response(), BODY)


def expectation_met_after(client: Connection) -> Generator[None, None, None]:
    yield
    send_expecting(client)
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    client.send(BODY)
    assert_last(client, client.read_response(), BODY)


def pipelined(client: Connection) -> Generator[None, None, None]:
    client.send(GET + GET[:20])
    assert not client.read_response().says_close()
    yield
    client.send(GET[20:] + GET + GET)
    answers = [client.read_response() for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert [answer.says_close() for answer in answers] == [False, False, True]
    assert client.is_closed_by_peer()


def streamed(client: Connection) -> Generator[None, None, None]:
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.send(GET.replace(b" / ", b" /stream "))
    head = client.read_until(b"\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    yield
    assert client.read_chunked() == STREAM
    assert_last(client, client.request())  # its head went out before the drain and promised another


# Inline, a stream that its client does not read has the lane: what must be answered before the drain comes first.
HTTP: tuple[Scene, ...] = (
    fresh,
    idle,
    half_sent_head,
    first_byte_of_a_second_request,
    dribbled_body,
    dribbled_chunks,
    expectation_met_before,
    expectation_met_after,
    pipelined,
    streamed,
)


# The scenes of other protocols.


def talking_lines(client: Connection) -> Generator[None, None, None]:
    client.send(b"one\ntw")
    assert client.read_until(b"\n") == b"ONE\n"
    yield
    client.send(b"o\nthree\nquit\n")
    assert client.read_to_end() == b"TWO\nTHREE\n"


def silent_then_lines(client: Connection) -> Generator[None, None, None]:
    yield
    client.send(b"hello\nquit\n")
    assert client.read_to_end() == b"HELLO\n"


def talking_backwards(client: Connection) -> Generator[None, None, None]:
    client.send(b"one")
    assert client.read_exactly(3) == b"eno"
    yield
    client.send(b"two")
    assert client.read_exactly(3) == b"owt"
    client.sock.shutdown(socket.SHUT_WR)
    assert client.is_closed_by_peer()


def silent_then_backwards(client: Connection) -> Generator[None, None, None]:
    yield
    client.send(b"hello")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.read_to_end() == b"olleh"


# What never ends by itself.


def endless(client: Connection) -> Generator[None, None, None]:
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.send(GET.replace(b" / ", b" /events "))
    assert b"chunked" in client.read_until(b"\r\n\r\n")
    yield
    tail = b""
    with suppress(ConnectionResetError):
        while data := client.sock.recv(65536):
            tail = (tail + data)[-len(LAST_CHUNK) :]
    assert tail != LAST_CHUNK, "a cut response looks complete"


def silent(client: Connection) -> Generator[None, None, None]:
    yield
    with pytest.raises((CutError, ConnectionResetError)):
        client.read_until(b"\n")


@dataclass(frozen=True)
class Interface:
    name: str
    arguments: tuple[str, ...]
    scenes: tuple[Scene, ...]
    endless: Scene = endless

    def __str__(self) -> str:
        return self.name


HTTP_INTERFACES = (
    Interface("asgi", ("draining:asgi",), HTTP),
    Interface("wsgi inline", ("draining:wsgi",), HTTP),
    Interface("wsgi threads", ("draining:wsgi", "--threads", "4"), HTTP),
)
INTERFACES = (
    *HTTP_INTERFACES,
    Interface("stream", ("lines_stream:handler",), (talking_lines, silent_then_lines), silent),
    Interface("protocol", ("lines_protocol:Reverse",), (talking_backwards, silent_then_backwards), silent),
)
WAYS: tuple[Way, ...] = ("reload", "scale down", "stop", "one worker")

for_every_http_interface = pytest.mark.parametrize("interface", HTTP_INTERFACES, ids=str)


# The whole table is long: what is left out without --thorough differs in its row or in its column only.
@pytest.mark.parametrize(
    ("interface", "way"),
    [
        pytest.param(
            *(interface, way),
            marks=[pytest.mark.thorough] if way != "reload" and interface not in INTERFACES[:2] else [],
        )
        for interface in INTERFACES
        for way in WAYS
    ],
    ids=str,
)
def test_everything_half_way_is_served_to_its_end(start: Start, interface: Interface, way: Way) -> None:
    running = start(*interface.arguments, "--workers", str(WORKERS), "--keep-alive", "12")
    with Play() as play:
        for worker in running.workers:
            play.begin_on(worker, running, interface.scenes)
        drained = drain(running, way)
        play.go_on(drained)
    assert play.failures == []
    assert_left(running, way, drained)
    assert running.find_records("requests cut") == []


# Not the whole table: the graceful time is waited for in each. Every interface once, every way once.
@pytest.mark.parametrize(
    ("interface", "way"),
    [(interface, "stop") for interface in INTERFACES]
    + [(INTERFACES[0], way) for way in WAYS if way != "stop"],
    ids=str,
)
def test_what_never_ends_is_cut_at_the_graceful_time_and_counted(
    start: Start, interface: Interface, way: Way
) -> None:
    running = start(*interface.arguments, "--workers", str(WORKERS), "--graceful-timeout", f"{GRACEFUL_S:g}s")
    with Play() as play:
        for worker in running.workers:
            play.begin_on(worker, running, [interface.endless])
        asked_at = time.monotonic()
        drained = drain(running, way)
        play.go_on(drained)
    assert play.failures == []
    assert min(play.ended_at) >= asked_at + KEPT_OF_GRACEFUL * GRACEFUL_S
    assert_left(running, way, drained)
    lost = [record.fields["lost"] for record in running.find_records("requests cut")]
    assert lost == ["1"] * len(drained)


@pytest.mark.parametrize("way", ["reload", "stop", pytest.param("scale down", marks=pytest.mark.thorough)])
@for_every_http_interface
def test_200_of_200_are_answered_that_connected_and_spoke_only_when_we_drained(
    start: Start, interface: Interface, way: Way
) -> None:
    running = start(*interface.arguments, "--workers", str(WORKERS))
    with ExitStack() as stack:
        clients = [stack.enter_context(Connection(running.address)) for _ in range(200)]
        wait_accepted(running.workers, clients)
        drained = drain(running, way)
        for client in clients:
            client.send(GET)
        assert [client.read_response().status for client in clients] == [200] * 200
    assert_left(running, way, drained)


@pytest.mark.parametrize(
    "way", ["reload", "one worker", pytest.param("scale down", marks=pytest.mark.thorough)]
)
@for_every_http_interface
def test_a_request_that_takes_its_time_holds_nobody_back(
    start: Start, interface: Interface, way: Way, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "held")
    running = start(*interface.arguments, "--workers", str(WORKERS))
    # The one that scaling down takes: the highest slot.
    chosen = max(running.workers, key=lambda worker: read_title(worker).split("slot=")[1])
    with ExitStack() as stack:
        with only(chosen, running):
            client = stack.enter_context(Connection(running.address))
            client.send(GET.replace(b" / ", b" /held "))
            release = wait_until(lambda: open_if_read(tmp_path / "held"), "the app in its request")
        match way:
            case "reload":
                running.signal(signal.SIGHUP)
                running.wait_for_record("reloaded")
            case "scale down":
                running.signal(signal.SIGTTOU)
                running.wait_for_record("scale")
            case _:
                chosen.send_signal(signal.SIGTERM)
        assert [running.get().status for _ in range(20)] == [200] * 20
        os.close(release)
        assert client.read_response().status == 200
    assert_left(running, way, {chosen.pid})


@for_every_http_interface
def test_a_silent_connection_has_its_keep_alive_time_from_the_drain_and_no_more(
    start: Start, interface: Interface
) -> None:
    running = start(*interface.arguments, "--keep-alive", "1", "--header-timeout", "60")
    with Connection(running.address) as silent, Connection(running.address) as idle:
        assert idle.request().status == 200
        wait_accepted(running.workers, [silent, idle])
        asked_at = time.monotonic()
        drained = drain(running, "stop")
        assert idle.is_closed_by_peer()
        assert silent.is_closed_by_peer()
        assert time.monotonic() >= asked_at + 1
        assert_left(running, "stop", drained)


def test_a_call_that_held_the_loop_while_we_stopped_says_that_it_was_the_last(
    start: Start, tmp_path: Path
) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    running = start("draining:wsgi", "--keep-alive", "60")
    with Connection(running.address) as client:
        assert not client.request().says_close()
        client.send(GET.replace(b" / ", b" /held "))
        release = wait_until(lambda: open_if_read(fifo), "the app to hold the loop")
        running.signal(signal.SIGTERM)
        running.wait_for_record("stopping")
        os.close(release)
        assert_last(client, client.read_response(), b"ok")
        assert running.wait_exit() == 0


# Playing.


class Play:
    """Scenes on their stages; `with` closes what is still open."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.ended_at: list[float] = []
        """Monotonic seconds; only of those who went on."""
        self._parts: dict[int, list[tuple[Connection, str, Generator[None, None, None]]]] = {}

    def __enter__(self) -> Play:
        return self

    def __exit__(self, *_: object) -> None:
        for parts in self._parts.values():
            for client, _name, _part in parts:
                client.close()

    def begin_on(self, worker: psutil.Process, running: Running, scenes: Iterable[Scene]) -> None:
        """Play each scene to its `yield`, with this worker at the other end."""
        parts = self._parts.setdefault(worker.pid, [])
        with only(worker, running):
            for scene in scenes:
                client = Connection(running.address)
                part = scene(client)
                parts.append((client, scene.__name__, part))
                next(part)
            wait_accepted([worker], [client for client, _, _ in parts])

    def go_on(self, pids: Iterable[int]) -> None:
        """Play what is left of the scenes on these workers, all at the same time; collect who failed."""
        threads = [
            threading.Thread(target=self._end, args=part, daemon=True)
            for pid in pids
            for part in self._parts[pid]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _end(self, client: Connection, name: str, part: Generator[None, None, None]) -> None:
        try:
            next(part)
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - the test's thread tells
            self.failures.append(f"{name}: {error!r}")
        else:
            self.failures.append(f"{name}: a second yield")
        client.close()
        self.ended_at.append(time.monotonic())


def assert_last(client: Connection, response: Response, body: bytes = b"ok") -> None:
    """The whole answer, and the connection's last."""
    assert (response.status, response.body) == (200, body)
    assert response.says_close()
    assert client.is_closed_by_peer()


def send_dribbling(client: Connection, data: bytes) -> None:
    for at in range(len(data)):
        client.send(data[at : at + 1])


def send_expecting(client: Connection) -> None:
    client.send(
        f"POST / HTTP/1.1\r\n{HOST}Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\n\r\n".encode()
    )


# Draining.


def drain(running: Running, way: Way) -> set[int]:
    """Ask for it, and wait until those concerned drain, or have done so; returns their pids."""
    workers = running.workers
    match way:
        case "reload":
            running.signal(signal.SIGHUP)
        case "scale down":
            running.signal(signal.SIGTTOU)
        case "stop":
            running.signal(signal.SIGTERM)
        case "one worker":
            workers[0].send_signal(signal.SIGTERM)
        case _:
            refuse_unreachable(way)
    count = len(workers) if way in {"reload", "stop"} else 1

    def look() -> set[int]:
        draining = {worker.pid for worker in running.find_role("worker", "draining")}
        alive = {worker.pid for worker in running.find_role("worker")}
        # The first may have ended before the last begins.
        drained = {worker.pid for worker in workers if worker.pid in draining or worker.pid not in alive}
        return drained if len(drained) == count else set()

    return wait_until(look, f"{count} draining workers")


def assert_left(running: Running, way: Way, drained: Iterable[int]) -> None:
    """Those who drained ended well, and as many as should be are there."""
    exits = [running.wait_for_record("worker exited", pid=pid).fields["how"] for pid in drained]
    assert set(exits) == {"exit 0"}
    if way == "stop":
        assert running.wait_exit() == 0
    else:
        running.wait_workers(WORKERS - 1 if way == "scale down" else WORKERS)


@contextmanager
def only(worker: psutil.Process, running: Running) -> Generator[None, None, None]:
    """The other workers are stopped, so that every new connection is this one's."""
    others = [other for other in running.workers if other.pid != worker.pid]
    for other in others:
        other.suspend()
        wait_until(lambda o=other: o.status() == psutil.STATUS_STOPPED, "a stopped worker")  # type: ignore[misc]  # a default in a lambda has no type
    try:
        yield
    finally:
        for other in others:
            other.resume()


def wait_accepted(workers: Iterable[psutil.Process], clients: Iterable[Connection]) -> None:
    """Every client's connection is in the hands of one of the workers."""
    workers = list(workers)
    ports = {client.sock.getsockname()[1] for client in clients}

    def look() -> bool:
        # A listener has no other end: its raddr is an empty tuple.
        ends = [connection.raddr for worker in workers for connection in worker.net_connections("tcp")]
        return ports <= {getattr(end, "port", None) for end in ends}

    wait_until(look, "accepted connections")


def open_if_read(fifo: Path) -> int:
    """The writing end, once somebody waits at the other; else 0."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return 0
