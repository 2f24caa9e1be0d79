"""Bytes of any kind, at any pace, only ever cost the connection that sent them."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import connect
from tests.integration.running import Running, wait_until

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz.d" / "fuzz.py"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BAD = (
    b"nonsense\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"0" * 5000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n" + GET,
    b"GET / HTTP/1.1\r\nHost: a\r\nConn",
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "options", [("--count", "500"), ("--stages", "--count", "500")], ids=["mutated", "cut"]
)
def test_a_small_run_of_the_fuzzer_finds_nothing(options: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, str(FUZZ), *options], capture_output=True, text=True, timeout=170, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "500 cases, 0 findings" in ended.stdout


def send_bad_input(running: Running, count: int) -> None:
    """So many connections of bad bytes; some are reset, the others read to their end."""
    for number in range(count):
        with connect(running.address) as sock:
            sock.sendall(BAD[number % len(BAD)])
            if number % 3 == 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                continue
            sock.shutdown(socket.SHUT_WR)
            try:
                while sock.recv(65536):
                    pass
            except ConnectionResetError:
                pass


@pytest.mark.parametrize("app", ["hello_asgi:app", "hello_wsgi:app"])
@pytest.mark.parametrize("level", ["debug", pytest.param("info", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_thousand_bad_connections_are_no_flood_of_the_log(
    start: Start, app: str, level: str, loop: str
) -> None:
    running = start(app, "--workers", "2", "--log-level", level, "--loop", loop)
    before = len(running.log.splitlines())
    began = time.monotonic()

    send_bad_input(running, 1000)

    took_s = time.monotonic() - began
    assert running.get().status == 200
    lines = running.log.splitlines()[before:]
    bad = [line for line in lines if "bad request" in line]
    # One a second and worker at DEBUG, none at INFO, and nothing else that grows with the input.
    assert len(bad) <= (2 * (took_s + 2) if level == "debug" else 0)
    assert len(lines) - len(bad) < 10
    if level == "debug":
        assert bad
    assert not re.search(r"Traceback|\[(WARNING|ERROR|CRITICAL)\]|[\x00-\x08\x0b-\x1f]", "\n".join(lines))
    assert running.stop() == 0


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_half_sent_requests_keep_nobody_waiting(start: Start, loop: str) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--header-timeout", "3s", "--loop", loop)
    halves = (b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", GET[:-2], b"")
    with ExitStack() as stack:
        socks = [stack.enter_context(connect(running.address)) for _ in range(300)]
        for number, sock in enumerate(socks):
            sock.sendall(halves[number % len(halves)])
        for _ in range(50):
            began = time.monotonic()
            assert running.get().status == 200
            assert time.monotonic() - began < 2
        # Those whose head does not come are told so.
        socks[0].settimeout(15)
        assert socks[0].recv(100).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: running.get().status == 200, "an answer after the half-sent requests")
    assert not re.search(r"Traceback|\[(ERROR|CRITICAL)\]", running.log)
    assert running.stop() == 0


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_half_sent_requests_that_take_all_descriptors_are_outlived(start: Start, loop: str) -> None:
    running = start(
        "hello_asgi:app",
        *("--workers", "1", "--header-timeout", "2s", "--loop", loop),
        prefix=("bash", "-c", 'ulimit -n 64; exec "$@"', "bash"),
    )
    (worker,) = running.workers
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(running.address)).sendall(b"GET / HT")
        # The half-sent ones time out in rounds, and whoever asked properly has its turn among them.
        assert running.get(timeout_s=30).status == 200
    assert running.get(timeout_s=30).status == 200
    assert [process.pid for process in running.workers] == [worker.pid]
    assert len(running.log.splitlines()) < 60
    assert running.stop() == 0
