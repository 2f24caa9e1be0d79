"""Whoever is served may end the interest in those who come after it in the same turn."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from prefork.system.readiness import wait_ready

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends that can both be read and written."""
    first, second = socket.socketpair()
    for end in (first, second):
        end.send(b"something")
    yield first, second
    for end in (first, second):
        with suppress(OSError):
            end.close()


def other(pair: tuple[socket.socket, socket.socket], one: object) -> socket.socket:
    return pair[1] if one is pair[0] else pair[0]


def test_who_is_not_watched_any_more_has_no_turn(
    selector: selectors.BaseSelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    for end in pair:
        selector.register(end, READ)
    served = []
    for key, _ in wait_ready(selector, 1):
        served.append(key.fileobj)
        selector.unregister(other(pair, key.fileobj))
    assert len(served) == 1


def test_who_is_watched_for_something_else_is_served_as_it_is_now(
    selector: selectors.BaseSelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    for end in pair:
        selector.register(end, READ | WRITE, "before")
    served = []
    for key, mask in wait_ready(selector, 1):
        served.append((key.data, mask))
        selector.modify(other(pair, key.fileobj), WRITE, "now")
    assert served == [("before", READ | WRITE), ("now", WRITE)]


def test_what_took_its_number_is_not_taken_for_it(
    selector: selectors.BaseSelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    for end in pair:
        selector.register(end, READ)
    served = []
    for key, _ in wait_ready(selector, 1):
        served.append(key.fileobj)
        gone = other(pair, key.fileobj)
        number = gone.fileno()
        selector.unregister(gone)
        gone.close()
        reader, writer = os.pipe()
        os.dup2(reader, number)
        selector.register(number, READ)
        for fd in {reader, writer} - {number}:
            os.close(fd)
    assert len(served) == 1
    with suppress(OSError):
        os.close(number)
