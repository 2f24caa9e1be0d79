"""What reloads by SIGHUP cost the clients: each answer is checked byte for byte, by the load of our own tests."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from case import Case, Conditions, Figures
from errors import BenchError
from lab import Started, list_descendants, running
from servers import ASGI, WSGI, Server, Task
from wrk import finish_wrk, start_wrk

sys.path.append(str(Path(__file__).parents[2]))
from tests.integration.load import MixedLoad

RELOAD_TIMEOUT_S = 30.0
"""granian takes 3.5 s per worker."""
ANSWER_TIMEOUT_S = 30.0
POLL_S = 0.005


def measure_reload(interface: str) -> Callable[[Conditions, Server], Figures]:
    def measure(on: Conditions, server: Server) -> Figures:
        with running(server, Task(on.environment.bin, f"echoes:{interface}", 4)) as started:
            started.wait_first_answer()
            started.wait_settled(4)
            figures = count_losses(started, on.reloads)
        with running(server, Task(on.environment.bin, f"bench_app:{interface}", 4)) as started:
            started.wait_first_answer()
            started.wait_settled(4)
            return figures | count_wrk_errors(started, 3, on.cores.load)

    return measure


def count_losses(started: Started, reloads: int) -> dict[str, list[float]]:
    """Reload under keep-alive GET, keep-alive POST and a connection per request, two clients each."""
    took_s: list[float] = []
    with MixedLoad(("127.0.0.1", started.port)) as load:
        wait_answers(started, load)
        # A server that gives a reload up would give the next one up too.
        while len(took_s) < reloads and (seconds := reload(started)) is not None:
            took_s.append(seconds)
            wait_answers(started, load)
    report = load.report
    return {
        "requests": [report.ok + report.lost],
        "refused": [report.refused],
        "reset": [report.reset],
        "cut": [report.cut],
        "wrong": [report.wrong + report.late],
        "reloads": [len(took_s)],
        "reload_ms": [seconds * 1000 for seconds in took_s],
    }


def count_wrk_errors(started: Started, reloads: int, core: int) -> dict[str, list[float]]:
    """Socket errors that wrk counts over its 32 keep-alive connections."""
    done = 0
    wrk = start_wrk(started.port, connections=32, duration_s=reloads * RELOAD_TIMEOUT_S + 10, core=core)
    try:
        time.sleep(1)
        while done < reloads and reload(started) is not None:
            done += 1
        time.sleep(1)
    finally:
        wrk.send_signal(signal.SIGINT)  # it ends, and tells what it saw
        counted = finish_wrk(wrk, ANSWER_TIMEOUT_S)
    return {
        "wrk_requests": [counted.requests],
        "wrk_reloads": [done],
        "wrk_errors": [counted.connect_errors + counted.read_errors + counted.other_errors],
    }


def reload(started: Started) -> float | None:
    """Seconds from SIGHUP to the end of the last process that was there before, with as many new ones in place.

    None if that did not come in time. Raises `BenchError` if the server ended.
    """
    old = set(list_processes(started))
    began = time.perf_counter()
    started.process.send_signal(signal.SIGHUP)
    while time.perf_counter() < began + RELOAD_TIMEOUT_S:
        if started.process.poll() is not None:
            raise BenchError(f"it exited {started.process.returncode}: {started.read_end_of_log()}")
        now = set(list_processes(started))
        if not old & now and len(now) >= len(old):
            return time.perf_counter() - began
        time.sleep(POLL_S)
    return None


def list_processes(started: Started) -> list[int]:
    """Workers and what they are forked from; not the bookkeeper that multiprocessing starts once."""
    return [
        pid for pid in list_descendants(started.process.pid) if "resource_tracker" not in read_command(pid)
    ]


def read_command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def wait_answers(started: Started, load: MixedLoad) -> None:
    """Until clients of each kind were answered again."""
    wanted = load.answered + 20
    deadline = time.perf_counter() + ANSWER_TIMEOUT_S
    while load.answered < wanted:
        if time.perf_counter() > deadline:
            raise BenchError(f"no more answers: {started.read_end_of_log()}")
        time.sleep(POLL_S)


RELOAD_METRICS = {
    "requests": "requests",
    "refused": "refused",
    "reset": "reset",
    "cut": "cut",
    "wrong": "wrong or late",
    "reloads": "reloads done",
    "reload_ms": "ms per reload",
    "wrk_requests": "wrk requests",
    "wrk_reloads": "reloads done",
    "wrk_errors": "socket errors",
}

CASES = (
    Case(
        "reload",
        "SIGHUPs to 4 workers, 6 clients that check every byte; then three under wrk, 32 keep-alive connections",
        RELOAD_METRICS,
        ASGI,
        measure_reload("asgi"),
        rounds=1,
        default_servers=("prefork", "gunicorn", "uvicorn", "granian"),
    ),
    Case(
        "reload-wsgi",
        "the same over WSGI (`reload --wsgi`)",
        RELOAD_METRICS,
        WSGI,
        measure_reload("wsgi"),
        rounds=1,
        default_servers=("prefork", "gunicorn-sync", "gunicorn-gthread", "granian"),
    ),
)
