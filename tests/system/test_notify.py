"""Datagrams reach the manager's socket by path and by abstract name, and a manager that is not there is an OSError."""

from __future__ import annotations

import os
import socket
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from prefork.system import processes
from prefork.system.notify import Manager, find_manager, find_watchdog_s


def tell_for_ever(manager: Manager) -> None:
    for _ in range(100_000):
        manager.tell("WATCHDOG=1")


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_notice_arrives(kind: str, tmp_path: Path) -> None:
    name = f"{tmp_path}/n" if kind == "path" else f"@prefork-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name if kind == "path" else "\0" + name[1:])
        listening.settimeout(5)
        with closing(find_manager(name)) as manager:
            manager.tell("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_or_does_not_read_never_blocks(tmp_path: Path) -> None:
    name = f"{tmp_path}/n"
    with closing(find_manager(name)) as manager:
        with pytest.raises(FileNotFoundError):
            manager.tell("READY=1")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(name)
            with pytest.raises(BlockingIOError):
                tell_for_ever(manager)
        with pytest.raises(ConnectionRefusedError):
            manager.tell("READY=1")


@pytest.mark.parametrize("name", ["vsock:2:1234", "relative", "/" + "x" * 200])
def test_other_addresses_are_refused(name: str) -> None:
    with pytest.raises(OSError, match="neither a path nor an abstract name"):
        find_manager(name)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": ""}, 0.0),
    ],
)
def test_the_watchdog_s_patience_is_ours_only_if_it_says_so(environ: dict[str, str], seconds: float) -> None:
    assert find_watchdog_s(environ, 7) == seconds


def test_children_inherit_nothing_that_was_said_to_the_master(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in processes.FROM_MANAGER:
        monkeypatch.setenv(name, "1")
    assert processes.FROM_MANAGER & os.environ.keys()
    assert not processes.FROM_MANAGER & processes._make_environment(os.environ).keys()
