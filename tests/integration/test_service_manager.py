"""What a service manager hears of us, over a socket like systemd's, and what it hands to us."""

from __future__ import annotations

import re
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import get
from tests.integration.running import wait_until

SECOND_WAITS = """
import asyncio, os

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    while os.environ["PREFORK_WORKER_ID"] == "1" and not os.path.exists("go"):
        await asyncio.sleep(0.05)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
"""
BROKEN = "raise RuntimeError('broken')\n"


class Manager:
    """Listens at an abstract name, as systemd does in a container; remembers every notice, line by line."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.notices: list[str] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._sock.recv(4096):
            self.notices += data.decode().splitlines()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._sock.getsockname())
        self._thread.join(5)
        self._sock.close()

    def changes(self) -> list[str]:
        """What was told of the service's state, without numbers that differ each time."""
        return [
            notice.split("=")[0] if notice.startswith("MONOTONIC") else notice
            for notice in list(self.notices)
            if not re.match("STATUS|WATCHDOG|EXTEND", notice)
        ]

    def wait_for(self, *changes: str) -> None:
        wait_until(lambda: self.changes() == list(changes), f"{changes}, and not {self.notices}")


@contextmanager
def managing(address: str) -> Iterator[Manager]:
    manager = Manager(address)
    try:
        yield manager
    finally:
        manager.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    with managing(f"@prefork-test-{uuid.uuid4()}") as listening:
        yield listening


def test_a_manager_hears_of_start_reload_failed_and_refused_reload_and_stop(
    start: Start, manager: Manager, tmp_path: Path
) -> None:
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "500000"}
    running = start("hello_asgi:app", "--workers", "2", "--settle", "0", env=env)
    told = ["READY=1", f"MAINPID={running.pid}"]
    manager.wait_for(*told)

    running.signal(signal.SIGHUP)
    told += ["RELOADING=1", "MONOTONIC_USEC", "READY=1"]
    manager.wait_for(*told)
    assert running.find_records("reloaded")

    (tmp_path / "hello_asgi.py").write_text(BROKEN)
    running.signal(signal.SIGHUP)
    told += ["RELOADING=1", "MONOTONIC_USEC", "READY=1"]
    manager.wait_for(*told)
    assert running.find_records("reload failed")

    (tmp_path / "prefork.toml").write_text("no-such-key = 1\n")
    running.signal(signal.SIGHUP)
    told += ["RELOADING=1", "MONOTONIC_USEC", "READY=1"]
    manager.wait_for(*told)
    assert "reload refused" in running.log

    assert "STATUS=starting: 0 of 2 workers ready" in manager.notices
    wait_until(
        lambda: "STATUS=2 of 2 workers ready, 0 requests/s, 0 in flight" in manager.notices, "figures", 8
    )
    beats = manager.notices.count("WATCHDOG=1")
    wait_until(lambda: manager.notices.count("WATCHDOG=1") >= beats + 3, "signs of life", 3)

    assert running.stop() == 0
    manager.wait_for(*told, "STOPPING=1")
    assert [record.line for record in running.complaints if record.level == "WARNING"] == []


def test_it_is_ready_when_as_many_workers_are_as_must_be(
    start: Start, manager: Manager, tmp_path: Path
) -> None:
    (tmp_path / "second_waits.py").write_text(SECOND_WAITS)
    env = {"NOTIFY_SOCKET": manager.address}
    running = start("second_waits:app", "--workers", "2", "--min-ready", "2", wait=False, env=env)
    wait_until(lambda: "STATUS=starting: 1 of 2 workers ready" in manager.notices, "figures", 8)
    assert manager.changes() == []
    (tmp_path / "go").touch()
    manager.wait_for("READY=1", f"MAINPID={running.pid}")


def test_neither_the_app_nor_its_subprocesses_inherit_the_manager_s_words(
    start: Start, manager: Manager
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        hand_over = (
            "exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web WATCHDOG_PID=$$ WATCHDOG_USEC=9000000 "
            f'"$@" 3<&{listener.fileno()}'
        )
        running = start(
            "inherits:app",
            bind=None,
            env={"NOTIFY_SOCKET": manager.address},
            prefix=("bash", "-c", hand_over, "bash"),
            pass_fds=(listener.fileno(),),
        )
        assert running.find_records("listening", fd_name="web")
        inherited = get(address).body.decode()
    manager.wait_for("READY=1", f"MAINPID={running.pid}")
    assert "PREFORK_WORKER_ID=0" in inherited
    assert re.findall(r"(?m)^(?:LISTEN|NOTIFY|WATCHDOG)_.*", inherited) == []


def test_a_manager_that_is_gone_costs_one_line_and_hears_everything_when_it_is_back(
    start: Start, tmp_path: Path
) -> None:
    address = f"{tmp_path}/notify"
    running = start("hello_asgi:app", env={"NOTIFY_SOCKET": address})
    assert running.get().status == 200
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    with managing(address) as late:
        late.wait_for("READY=1", f"MAINPID={running.pid}")
        assert running.stop() == 0
        late.wait_for("READY=1", f"MAINPID={running.pid}", "STOPPING=1")
    (line,) = running.complaints
    assert line.event == "the service manager does not listen"


def test_a_watchdog_notices_a_master_that_hangs(start: Start, manager: Manager) -> None:
    running = start("hello_asgi:app", env={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"})
    wait_until(lambda: manager.notices.count("WATCHDOG=1") > 3, "signs of life")
    running.signal(signal.SIGSTOP)
    wait_until(lambda: running.master.status() == "stopped", "a hanging master")
    beats = manager.notices.count("WATCHDOG=1")
    assert running.get().status == 200
    wait_until(lambda: running.master.status() == "stopped", "it still hangs")
    assert manager.notices.count("WATCHDOG=1") <= beats + 1
    running.signal(signal.SIGCONT)
    wait_until(lambda: manager.notices.count("WATCHDOG=1") > beats + 1, "it is back")
