"""The load generator must see what it is for: tried on servers that break their promises on purpose."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.integration.http_client import Address, Response
from tests.integration.load import Load, MixedLoad, Outcome, expect_echo
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


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        (lambda echo: echo, True),
        (lambda echo: echo.replace(b"7 ", b"12 ", 1), True),
        (lambda echo: echo.replace(b"7 ", b"", 1), False),
        (lambda echo: echo.replace(b"POST", b"GET"), False),
        (lambda echo: echo.replace(b"/p?1", b"/p?2"), False),
        (lambda echo: echo.replace(b"a body", b"A body"), False),
        (lambda echo: echo + b"y", False),
        (lambda echo: echo[:-1], False),
    ],
)
def test_an_echo_is_right_only_byte_for_byte(change: Callable[[bytes], bytes], is_right: bool) -> None:
    echo = f"7 POST /p?1 {hashlib.sha256(b'a body').hexdigest()} a body".encode()

    assert expect_echo("/p?1", b"a body").is_right(Response(200, "OK", (), change(echo))) is is_right


def test_a_mixed_load_needs_every_kind_answered_to_count_as_answered() -> None:
    with serving(lambda connection: give(connection, RIGHT)) as address, MixedLoad(address) as load:
        wait_until(lambda: load.report.wrong >= 10, "wrong answers")

    assert (load.answered, load.report.ok) == (0, 0)


def test_an_idle_connection_closed_without_a_word_costs_the_next_request() -> None:
    silent = RIGHT.replace(b"Connection: close\r\n", b"")
    with serving(lambda connection: give(connection, silent)) as address, Load(address, threads=1) as load:
        wait_until(lambda: load.report.lost >= 2, "lost requests")

    assert load.report.lost == load.report.cut + load.report.reset


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
