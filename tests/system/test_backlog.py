"""How many wait is what the kernel says, where it says anything."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from prefork.system.backlog import count_waiting


def test_whoever_has_not_been_accepted_is_counted() -> None:
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=16))
        assert count_waiting(listener) == 0
        for _ in range(5):
            opened.enter_context(socket.create_connection(listener.getsockname()))
        assert count_waiting(listener) == 5
        opened.enter_context(listener.accept()[0])
        assert count_waiting(listener) == 4


def test_of_a_unix_socket_nothing_is_known(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        assert count_waiting(listener) is None
