"""Whose connection it is, by a header that is looked at and left where it is: real sockets, a clock of our own."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator

import pytest

from prefork.config.model import Config
from prefork.core.handoff import Connection
from prefork.master.lobby import GUESTS_MAX, LOOK_AGAIN_S, PATIENCE_S, Lobby
from prefork.serve.proxy_protocol import SIGNATURE
from tests.system.children import list_fds

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
BINARY = SIGNATURE + b"\x21\x21\0\x24" + socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(20)


class Hall:
    """The lobby, its clock, and whoever stands before it. `turn` is a turn of the master's loop."""

    def __init__(self, **changes: object) -> None:
        self.now = 1000.0
        self.selector = selectors.DefaultSelector()
        self.lobby = Lobby(self.selector, lambda: self.now)
        settings: dict[str, object] = {"balance": "ip-hash", "proxy_protocol": True} | changes
        self.lobby.serve(Config(app="main:app", **settings))  # type: ignore[arg-type]  # names of fields
        self.ends: list[socket.socket] = []

    def connect(self, sent: bytes = b"", address: str = "127.0.0.1") -> tuple[socket.socket, Connection]:
        ours, theirs = socket.socketpair()
        theirs.sendall(sent)
        self.ends += [ours, theirs]
        return theirs, Connection(ours.fileno(), 1, address)

    def turn(self, seconds: float = 0.0) -> list[Connection]:
        self.now += seconds
        for key, _ in self.selector.select(0):
            assert list(key.data()) == []
        self.lobby.tend()
        return self.lobby.take(1000)

    def is_told(self) -> bool:
        return bool(self.selector.select(0))

    def close(self) -> None:
        for end in self.ends:
            end.close()
        self.selector.close()


@pytest.fixture
def hall() -> Iterator[Hall]:
    before = list_fds()
    hall = Hall()
    yield hall
    assert not hall.selector.get_map(), "nobody is left in the selector"
    hall.close()
    assert list_fds() <= before


@pytest.mark.parametrize(
    ("sent", "client"),
    [
        (LINE, "192.0.2.1"),
        (LINE + b"GET / HTTP/1.1\r\n", "192.0.2.1"),
        (BINARY, "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (SIGNATURE + b"\x20\0\0\0", "127.0.0.1"),
        (SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), ""),
        (b"GET / HTTP/1.1\r\n\r\n", "127.0.0.1"),
        (SIGNATURE + b"\x21\x11\xff\xff" + bytes(8000), "127.0.0.1"),
    ],
    ids=["v1", "v1 and more", "v2", "unknown", "local", "unix", "garbage", "longer than we look"],
)
def test_who_has_said_all_is_known_at_once_and_not_a_byte_is_taken(
    hall: Hall, sent: bytes, client: str
) -> None:
    _, connection = hall.connect(sent)
    assert hall.lobby.greet(connection) == connection._replace(address=client)
    assert os.read(connection.fd, len(sent)) == sent
    assert hall.lobby.next_deadline() is None


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, "192.0.2.9"),
        ({"proxy_protocol": False}, "127.0.0.1"),
        ({"balance": "least-connections"}, "127.0.0.1"),
        ({"forwarded_allow_ips": ("10.0.0.0/8",)}, ""),
    ],
    ids=["a stranger", "no PROXY protocol", "nobody asks", "a unix socket that is not trusted"],
)
def test_who_is_not_trusted_or_not_asked_is_its_peer(changes: dict[str, object], address: str) -> None:
    hall = Hall(**changes)
    _, connection = hall.connect(LINE, address)
    assert hall.lobby.greet(connection) is connection
    hall.close()


def test_a_header_that_comes_later_counts_when_it_is_complete(hall: Hall) -> None:
    client, connection = hall.connect()
    assert hall.lobby.greet(connection) is None
    assert hall.turn() == []
    client.sendall(LINE[:20])
    assert hall.turn() == []
    assert not hall.is_told(), "what has come and stays must not wake us for ever"
    assert hall.lobby.next_deadline() == hall.now + LOOK_AGAIN_S
    client.sendall(LINE[20:])
    assert hall.turn(LOOK_AGAIN_S) == [connection._replace(address="192.0.2.1")]


@pytest.mark.parametrize("sent", [b"", LINE[:20], BINARY[:14]])
def test_who_is_late_is_its_peer(hall: Hall, sent: bytes) -> None:
    client, connection = hall.connect(sent)
    assert hall.lobby.greet(connection) is None
    assert hall.turn(PATIENCE_S - 0.001) == []
    assert hall.turn(0.002) == [connection]
    client.sendall(LINE)
    assert hall.turn() == []


@pytest.mark.parametrize("sent", [b"", LINE[:20]])
def test_who_leaves_is_its_peer_at_once(hall: Hall, sent: bytes) -> None:
    client, connection = hall.connect()
    assert hall.lobby.greet(connection) is None
    client.sendall(sent or b"G")
    client.close()
    assert (hall.turn() or hall.turn(PATIENCE_S)) == [connection]
    gone, connection = hall.connect()
    gone.close()
    assert hall.lobby.greet(connection) == connection


def test_so_many_wait_and_of_one_too_many_the_first_goes(hall: Hall) -> None:
    waiting = [hall.connect()[1] for _ in range(GUESTS_MAX + 1)]
    assert [hall.lobby.greet(each) for each in waiting] == [None] * len(waiting)
    assert hall.turn() == waiting[:1]
    hall.ends[-1].sendall(LINE)
    _, quick = hall.connect(LINE)
    assert hall.lobby.greet(quick) == quick._replace(address="192.0.2.1")
    told = hall.selector.select(0)
    assert hall.lobby.empty() == waiting[1:]
    assert [list(key.data()) for key, _ in told] == [[]] * len(told), "who was let go a moment ago stays gone"
