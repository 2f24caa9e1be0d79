"""The master's end of the socket: it answers, and no client, however rude, costs more than a bounded buffer."""

from __future__ import annotations

import logging
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from prefork.control import requests as ask
from prefork.control import server as module
from prefork.control.places import Place
from prefork.control.server import CONNECTIONS_MAX, IDLE_S
from prefork.core import events as on
from prefork.system import clock
from prefork.system.peers import Peer
from tests.control.desk import Office
from tests.system.children import list_fds, run_python

STATUS = b'{"do":"status"}\n'
FINE = b'{"is":"done","message":"fine","facts":{}}'


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    office.server.open("shop", office.desk)
    yield office
    office.close()


def test_requests_are_answered_in_their_order_each_by_its_lines(office: Office) -> None:
    office.desk.lines = [ask.Progress(2, 0, 4, "importing"), ask.Progress(2, 4, 4, "draining")]
    client = office.connect()
    client.send(STATUS + STATUS)
    lines = client.lines(6)
    assert lines[2] == lines[5] == FINE
    assert [msgspec.json.decode(line)["moved"] for line in (lines[0], lines[1], lines[3], lines[4])] == [
        0,
        4,
        0,
        4,
    ]
    assert office.desk.peers[0] == Peer(os.getpid(), os.geteuid())


def test_what_is_asked_is_decided_before_it_is_answered(office: Office) -> None:
    client = office.connect()
    client.send(b'{"do":"scale","to":4}\n{"do":"scale","to":5}\n')
    assert client.lines(2) == [FINE.replace(b"fine", b"1 decided"), FINE.replace(b"fine", b"2 decided")]
    assert office.desk.decided == [on.ScaleAsked(to=4), on.ScaleAsked(to=5)]


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"GET / HTTP/1.1\r",
        b"[]",
        b"null",
        b'{"do":"explode"}',
        b'{"do":"status","more":1}',
        b'{"do":"scale","to":0}',
        b'{"do":"scale","to":513}',
        b'{"do":"scale","to":"many"}',
        b'{"do":"scale","by":1e9}',
        b'{"do":"restart","slot":-1}',
        b'{"do":"stop","quick":"yes"}',
        b'{"do":"status"',
        b"\xff\xfe\x00",
        b"[" * 60_000,
    ],
)
def test_a_malformed_request_is_refused_and_nobody_else_notices(office: Office, request_line: bytes) -> None:
    client, other = office.connect(), office.connect()
    client.send(request_line + b"\n" + STATUS)
    (line,) = client.lines(1)
    refused = msgspec.json.decode(line)
    assert (refused["is"], refused["exit_code"]) == ("error", 2)
    client.wait_closed()
    assert office.desk.asked == [], "nothing after it is taken for a request"
    other.send(STATUS)
    assert other.lines(1) == [FINE]


def test_a_request_past_64_kilobytes_or_a_line_that_never_ends_is_refused(office: Office) -> None:
    client = office.connect()
    client.send(b"x" * 200_000)
    client.wait_closed()
    assert msgspec.json.decode(client.data.split(b"\n")[0])["message"] == "a request is 65536 bytes at most"


def test_a_client_that_floods_and_never_reads_holds_one_answer_and_64_kilobytes(office: Office) -> None:
    office.desk.lines = [b"x" * 100_000 + b"\n"] * 50
    client = office.connect()
    client.send(STATUS * 50_000)
    office.turn_until(lambda: not office.server._connections)
    assert len(office.desk.asked) <= 2, "no more is done than is read"
    other = office.connect()
    office.desk.lines = []
    other.send(STATUS)
    assert other.lines(1) == [FINE]


def test_what_a_slow_client_does_not_read_is_not_even_made(office: Office) -> None:
    office.desk.lines = [b"x" * 100_000 + b"\n"] * 50
    client = office.connect()
    client.send(b'{"do":"events","follow":true}\n')
    for _ in range(20):
        office.turn()
    assert len(office.desk.lines) > 40
    (connection,) = office.server._connections
    assert len(connection.outbox) <= 100_001
    assert all(len(line) == 100_000 for line in client.lines(50))


def test_a_client_that_hangs_up_in_the_middle_is_forgotten(office: Office) -> None:
    client = office.connect()
    client.send(b'{"do":"events","follow":true}\n')
    office.turn_until(lambda: office.desk.asked)
    client.sock.close()
    office.turn_until(lambda: not office.server._connections)


def test_whoever_is_silent_is_closed_and_the_loop_wakes_for_that(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = office.connect()
    office.turn_until(lambda: office.server._connections)
    now = office.server._connections[0].seen_at
    assert office.server.next_deadline() == now + IDLE_S
    monkeypatch.setattr(clock, "monotonic", lambda: now + IDLE_S)
    list(office.server.tend())
    monkeypatch.undo()
    client.wait_closed()
    assert office.server.next_deadline() is None


def test_too_many_connections_close_the_longest_silent_one(office: Office) -> None:
    first = office.connect()
    office.turn_until(lambda: office.server._connections)
    others = [office.connect() for _ in range(CONNECTIONS_MAX)]
    office.turn_until(lambda: len(office.server._connections) == CONNECTIONS_MAX)
    first.wait_closed()
    others[-1].send(STATUS)
    assert others[-1].lines(1) == [FINE]


def test_without_descriptors_the_listener_is_left_alone_for_a_while(office: Office) -> None:
    used = max(list_fds())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = office.connect()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
    holes = []
    with suppress(OSError):
        while True:  # every number below the limit
            holes.append(os.dup(0))
    try:
        office.turn()
        office.turn()
        assert office.server._connections == []
        assert office.server.next_deadline() is not None, "it comes back by itself"
        assert office.selector.select(0) == [], "and does not spin until then"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in holes:
            os.close(fd)
    client.send(STATUS)
    assert client.lines(1) == [FINE]


def test_a_strangers_uid_is_sent_away(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_peer", lambda _: Peer(1, 4242))
    client = office.connect()
    client.send(STATUS)
    client.wait_closed()
    refused = msgspec.json.decode(client.data)
    assert refused["exit_code"] == 77
    assert refused["message"].startswith("uid 4242 may not operate this service")
    assert office.desk.asked == []


def test_a_broken_answer_costs_itself_alone(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Iterator[ask.AnyAnswer]:
        yield ask.Progress(1, 1, 1, "rolling")
        raise ZeroDivisionError

    office.desk.take = lambda request, peer: module.Reply(iter(()), fail())  # type: ignore[method-assign] # a fake
    client = office.connect()
    client.send(STATUS)
    assert msgspec.json.decode(client.lines(2)[1])["is"] == "error"


# The file.


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_server(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    assert office.server.path == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    office.server.close()
    assert not path.exists()


def test_what_took_its_place_is_left_alone(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    path.unlink()
    path.touch()
    office.server.close()
    assert path.exists()


def test_a_stale_socket_is_replaced_also_if_its_name_has_a_pid_that_lives(tmp_path: Path) -> None:
    for name in ("shop.sock", f"shop-{os.getpid()}.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{tmp_path}/{name}")
    office = Office(tmp_path)
    office.server.open("shop", office.desk)
    assert office.server.path == f"{tmp_path}/shop.sock"
    other = Office(tmp_path)
    other.server.open("shop", other.desk)
    assert other.server.path == f"{tmp_path}/shop-{os.getpid()}.sock"
    for each in (other, office):
        client = each.connect()
        client.send(STATUS)
        assert client.lines(1) == [FINE]
        each.close()
    assert list(tmp_path.iterdir()) == []


def test_two_services_of_one_name_both_serve_with_one_line_that_says_so(
    office: Office, tmp_path: Path, told: list[str]
) -> None:
    other = Office(tmp_path)
    other.server.open("shop", other.desk)
    assert told == [
        f"control socket path={tmp_path}/shop-{os.getpid()}.sock why=another service has the name"
    ]
    other.close()
    assert office.server.path == f"{tmp_path}/shop.sock"


def test_a_service_that_gets_another_name_gets_another_socket(office: Office, tmp_path: Path) -> None:
    client = office.connect()
    office.turn_until(lambda: office.server._connections)
    office.server.rename("shop")
    office.server.rename("store")
    assert [path.name for path in tmp_path.iterdir()] == ["store.sock"]
    client.send(STATUS)
    assert client.lines(1) == [FINE], "who was let in is still answered"


def test_a_path_that_is_too_long_or_a_directory_that_is_not_there_leads_to_the_next_place(
    tmp_path: Path,
) -> None:
    for given in (f"/{'x' * 120}", f"{tmp_path}/no/such", "/proc/1"):
        office = Office(tmp_path, RUNTIME_DIRECTORY=given, XDG_RUNTIME_DIR=str(tmp_path))
        office.server.open("shop", office.desk)
        assert office.server.path == f"{tmp_path}/prefork/shop.sock"
        office.close()


def test_a_place_that_was_named_is_the_only_one(tmp_path: Path, told: list[str]) -> None:
    for given, why in [
        (f"/{'x' * 120}.sock", "longer than the 103 bytes"),
        (f"{tmp_path}/no/such", "no such file"),
    ]:
        office = Office(tmp_path, PREFORK_CONTROL=given, XDG_RUNTIME_DIR=str(tmp_path))
        office.server.open("shop", office.desk)
        assert office.server.path == ""
        assert why in told.pop()
        office.close()


def test_where_no_place_can_be_used_one_line_says_why(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "list_places", lambda *_: [Place("/proc/1", is_ours=False), Place("/no/such", is_ours=False)]
    )
    office = Office(tmp_path)
    office.server.open("shop", office.desk)
    assert office.server.path == ""
    assert len(told) == 1
    assert told[0].startswith("no control socket: ")
    assert "/no/such: no such file or directory" in told[0]
    office.server.rename("other")
    office.close()


def test_a_user_without_a_name_or_a_home_has_a_place(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    path = run_python(
        "import os, selectors\n"
        "from prefork.control.server import Server\n"
        "os.setgroups([]); os.setgid(54321); os.setuid(54321)\n"
        "server = Server(selectors.DefaultSelector(), {})\n"
        "server.open('shop', None)\n"
        "print(server.path)\n"
        "server.close()\n"
        "os.rmdir('/tmp/prefork-54321')\n"
    )
    assert path == "/tmp/prefork-54321/shop.sock\n"


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = {key: record.__dict__[key] for key in ("path", "why") if key in record.__dict__}
            lines.append(record.getMessage() + "".join(f" {key}={value}" for key, value in fields.items()))

    logger, handler = logging.getLogger("prefork.control"), Handler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)
