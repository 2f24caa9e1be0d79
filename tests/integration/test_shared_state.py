"""The recipe for sessions and rate limits, against a real Redis or Valkey: two services, one state."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection, Response
from tests.integration.running import Running, is_listening, wait_until

EXAMPLE = Path(__file__).parents[2] / "conf/examples/shared_sessions.py"
SERVER = shutil.which("valkey-server") or shutil.which("redis-server")

pytestmark = [
    pytest.mark.skipif(SERVER is None, reason="neither valkey-server nor redis-server is installed"),
    pytest.mark.skipif(importlib.util.find_spec("redis") is None, reason="redis-py is not installed"),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    path = tmp_path / "store.sock"
    command = [str(SERVER), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_listening(path) or process.poll() is not None, "the store")
            assert process.poll() is None
            yield process
        finally:
            process.terminate()
            process.wait(10)


def visit(running: Running, cookie: str = "") -> Response:
    head = f"Cookie: {cookie}\r\n" if cookie else ""
    with Connection(running.address) as connection:
        return connection.request("/", head=head + "Connection: close\r\n")


def test_every_worker_of_every_service_knows_the_session_and_counts_to_one_limit(
    start: Start, tmp_path: Path, store: subprocess.Popen[bytes]
) -> None:
    env = {"REDIS_URL": f"unix://{tmp_path}/store.sock", "RATE_LIMIT": "40"}
    machines = [start(str(EXAMPLE), "--workers", "2", env=env) for _ in range(2)]

    first = visit(machines[0])
    cookie = (first.header("set-cookie") or "").split(";")[0]
    assert first.json()["visits"] == 1
    answers = [visit(machines[number % 2], cookie) for number in range(39)]
    assert [answer.json()["visits"] for answer in answers] == list(range(2, 41))
    assert len({answer.json()["worker"] for answer in answers}) >= 2  # one of each, at least
    assert all(answer.header("set-cookie") is None for answer in answers)

    refused = [visit(machine) for machine in machines]
    assert [answer.status for answer in refused] == [429, 429]
    assert all(1 <= int(answer.header("retry-after") or 0) <= 60 for answer in refused)

    store.terminate()
    store.wait(10)
    assert visit(machines[0], cookie).status == 503  # not counted, not known, and not hanging
    assert [machine.stop() for machine in machines] == [0, 0]
    assert [line for machine in machines for line in machine.records if line.level == "ERROR"] == []
