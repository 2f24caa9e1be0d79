"""The load generator must see what it is for: tried on servers that break their promises on purpose."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.integration.http_client import Address
from tests.integration.load import Load, Outcome
from tests.integration.running import wait_until

RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nHello, world!"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (RIGHT, "ok"),
        (RIGHT.replace(b"200 OK", b"500 Oh"), "wrong"),
        (RIGHT.replace(b"Hello", b"HELLO"), "wrong"),
        (RIGHT[:-1], "cut"),
        (b"", "cut"),
        (b"nonsense\r\n\r\n", "wrong"),
        (None, "reset"),
    ],
)
def test_each_way_of_failing_is_told_apart(answer: bytes | None, outcome: Outcome) -> None:
    with serving(lambda connection: give(connection, answer)) as address, Load(address, threads=1) as load:
        wait_until(lambda: getattr(load.report, outcome) >= 2, f"two {outcome}")

    assert load.report.lost == (0 if outcome == "ok" else getattr(load.report, outcome))


def test_nobody_listening_is_refused() -> None:
    with serving(lambda _: None) as address:
        pass
    with Load(address, threads=1) as load:
        wait_until(lambda: load.report.refused >= 2, "two refused")


def give(connection: socket.socket, answer: bytes | None) -> None:
    connection.recv(65536)
    if answer is None:  # SO_LINGER 0: close with RST
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        connection.sendall(answer)


@contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[Address]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed below
            with connection:
                handle(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
