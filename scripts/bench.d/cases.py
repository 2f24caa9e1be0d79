"""What is measured: one function per case, that measures one server once and returns its figures."""

from __future__ import annotations

import os
import re
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from environments import Environment
from lab import (
    BenchError,
    Cores,
    Load,
    Started,
    finish_wrk,
    is_spare,
    list_descendants,
    read_memory_mb,
    running,
    start_wrk,
)
from reloading import count_losses, count_wrk_errors
from servers import ASGI, WSGI, Server, Task

Figures = dict[str, list[float]]
"""Metric -> the values of one measurement; several measurements are simply joined."""

WARM_UP_S = 1.0
POLL_S = 0.001


@dataclass(frozen=True)
class Conditions:
    environment: Environment
    cores: Cores
    seconds: float | None
    """How long a measurement takes, if the caller has an opinion."""
    reloads: int


@dataclass(frozen=True)
class Case:
    name: str
    help: str
    metrics: dict[str, str]
    """Metric -> its title with unit, in the order of the table."""
    servers: dict[str, Server]
    measure: Callable[[Conditions, Server], Figures]
    rounds: int
    every_python: bool = False
    """Measured on the newest Python too, not only on the current one."""
    default_servers: tuple[str, ...] = ()
    """Measured unless others are asked for; empty: all."""


def measure_plaintext(app: str) -> Callable[[Conditions, Server], Figures]:
    def measure(on: Conditions, server: Server) -> Figures:
        seconds = on.seconds or 5.0
        with running(server, Task(on.environment.bin, app, 1), pin=on.cores.server) as started:
            started.wait_first_answer()
            load(started, on.cores.load, WARM_UP_S)
            before_s = started.read_cpu_s()
            done = load(started, on.cores.load, seconds)
            cpu_s = started.read_cpu_s() - before_s
        return {"rate": [done.requests_per_s], "cpu_us": [cpu_s / max(done.requests, 1) * 1e6]}

    def load(started: Started, core: int, seconds: float) -> Load:
        wrk = start_wrk(started.port, connections=64, duration_s=seconds, core=core)
        done = finish_wrk(wrk, seconds + 20)
        # gunicorn sync has no keep-alive: wrk counts some of its closes as read errors, and they cost it nothing.
        if done.connect_errors or done.other_errors:
            raise BenchError(
                f"{done.connect_errors} connect errors, {done.other_errors} bad answers under load"
            )
        return done

    return measure


def measure_cold_start(on: Conditions, server: Server) -> Figures:
    with running(server, Task(on.environment.bin, "bench_app:asgi", 4)) as started:
        return {"ms": [started.wait_first_answer() * 1000]}


def measure_idle(on: Conditions, server: Server) -> Figures:
    seconds = on.seconds or 10.0
    with running(server, Task(on.environment.bin, "bench_app:asgi", 16)) as started:
        started.wait_first_answer()
        started.wait_settled(16)
        before_s, began = started.read_cpu_s(), time.perf_counter()
        time.sleep(seconds)
        spent_s, took_s = started.read_cpu_s() - before_s, time.perf_counter() - began
        pids = [started.process.pid, *list_descendants(started.process.pid)]
        return {
            "cpu_percent": [spent_s / took_s * 100],
            "master_mb": [read_memory_mb(started.process.pid)],
            "tree_mb": [sum(map(read_pss_mb, pids))],
        }


def measure_respawn(on: Conditions, server: Server) -> Figures:
    kills, gap_s = 5, 1.5
    figures: Figures = {"forked_ms": [], "ready_ms": [], "serves_ms": [], "refused": [], "cut": []}
    task = Task(on.environment.bin, "first_served:asgi", 4, preload=True, log_level="info")
    with running(server, task, env={"FIRST_SERVED": "first_served.txt"}) as started:
        started.wait_first_answer()
        started.wait_settled(4)
        # New connections all the time: a new worker is asked as soon as it accepts.
        duration_s = kills * (gap_s + 2) + 5
        wrk = start_wrk(started.port, connections=8, duration_s=duration_s, core=on.cores.load, close=True)
        try:
            for _ in range(kills):
                time.sleep(gap_s)
                kill_one_worker(started, figures)
        finally:
            done = finish_wrk(wrk, duration_s + 20)
    figures["refused"] = [done.connect_errors / kills]
    figures["cut"] = [(done.read_errors + done.other_errors) / kills]
    return {metric: values for metric, values in figures.items() if values}


def kill_one_worker(started: Started, figures: Figures) -> None:
    """SIGKILL the worker that served first, and time its successor: forked, said to be ready, first answer."""
    notes = started.folder / "first_served.txt"
    # A spare counts as forked from the moment it is a worker.
    alive = {pid for pid in list_descendants(started.process.pid) if not is_spare(pid)}
    victim = next((pid for pid, _ in read_notes(notes) if pid in alive), None)
    if victim is None:
        raise BenchError("no worker has served yet")
    served = {pid for pid, _ in read_notes(notes)}
    log_size = started.log_path.stat().st_size
    first_seen: dict[int, float] = {}
    ready_at: float | None = None
    killed_at = time.time()
    os.kill(victim, signal.SIGKILL)
    while time.time() < killed_at + 15:
        now = time.time()
        for pid in list_descendants(started.process.pid):
            if pid not in alive and not is_spare(pid):
                first_seen.setdefault(pid, now)
        if ready_at is None and is_ready_logged(started, log_size):
            ready_at = now
        for pid, served_at in read_notes(notes):
            if pid not in served and pid in first_seen and (ready_at or server_logs_no_ready(started)):
                figures["forked_ms"].append((first_seen[pid] - killed_at) * 1000)
                if ready_at:
                    figures["ready_ms"].append((ready_at - killed_at) * 1000)
                figures["serves_ms"].append((served_at - killed_at) * 1000)
                return
        time.sleep(POLL_S)
    raise BenchError(f"no successor served within 15 s of the kill: {started.read_end_of_log()}")


def is_ready_logged(started: Started, since: int) -> bool:
    with started.log_path.open("rb") as log:
        log.seek(since)
        return b"worker ready" in log.read()


def server_logs_no_ready(started: Started) -> bool:
    return started.name != "prefork"


def read_notes(notes: Path) -> Iterator[tuple[int, float]]:
    """The complete lines `PID TIME` that the apps have written."""
    text = notes.read_text() if notes.exists() else ""
    for pid, moment in re.findall(r"^(\d+) ([\d.]+)\n", text, re.MULTILINE):
        yield int(pid), float(moment)


def measure_crash_loop(on: Conditions, server: Server) -> Figures:
    seconds = on.seconds or 10.0
    env = {"STARTS": "starts.txt"}
    with running(server, Task(on.environment.bin, "dies_young:asgi", 4), env=env) as started:
        deadline = started.started_at + seconds
        cpu_s, pids = 0.0, set[int]()
        # A server that gives up is fine; what it has cost until then is what counts.
        while time.perf_counter() < deadline and started.process.poll() is None:
            pids |= set(list_descendants(started.process.pid))
            cpu_s = max(cpu_s, started.read_cpu_s())
            time.sleep(0.01)
        starts = list(read_notes(started.folder / "starts.txt"))
        if not starts:
            raise BenchError(f"no worker ever started: {started.read_end_of_log()}")
        return {"starts": [len(starts)], "forks": [len(pids)], "cpu_s": [cpu_s]}


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


def read_pss_mb(pid: int) -> float:
    """The share of memory that is this process's own; shared pages are divided among those who share them."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0


def summarise(values: list[float]) -> tuple[float, float, float]:
    """Median, least, most."""
    return statistics.median(values), min(values), max(values)


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

CASES = {
    case.name: case
    for case in (
        Case(
            "plaintext",
            "one worker on one core, 13 bytes over ASGI, 64 keep-alive connections from the other core",
            {"rate": "requests/s", "cpu_us": "CPU µs/request"},
            ASGI,
            measure_plaintext("bench_app:asgi"),
            rounds=3,
            every_python=True,
            default_servers=("prefork", "uvicorn", "granian", "gunicorn"),
        ),
        Case(
            "plaintext-wsgi",
            "the same over WSGI (`plaintext --wsgi`)",
            {"rate": "requests/s", "cpu_us": "CPU µs/request"},
            WSGI,
            measure_plaintext("bench_app:wsgi"),
            rounds=3,
            every_python=True,
        ),
        Case(
            "cold-start",
            "from the start of the program to the first 200, 4 workers",
            {"ms": "ms to first 200"},
            ASGI,
            measure_cold_start,
            rounds=7,
            default_servers=("prefork", "gunicorn", "uvicorn", "granian"),
        ),
        Case(
            "idle",
            "16 workers that do nothing: CPU of the tree, memory",
            {"cpu_percent": "% of a core", "master_mb": "master RSS MB", "tree_mb": "tree PSS MB"},
            ASGI,
            measure_idle,
            rounds=1,
            default_servers=("prefork", "gunicorn", "uvicorn", "granian"),
        ),
        Case(
            "respawn",
            "kill -9 of one of 4 workers under load, app preloaded where the server can",
            {
                "forked_ms": "ms to fork",
                "ready_ms": "ms to READY",
                "serves_ms": "ms to first answer",
                "refused": "refused/kill",
                "cut": "cut/kill",
            },
            ASGI,
            measure_respawn,
            rounds=2,
            default_servers=("prefork", "gunicorn", "uvicorn"),
        ),
        Case(
            "crash-loop",
            "4 workers that die 0.3 s after they start, for 10 s",
            {"starts": "app starts", "forks": "processes", "cpu_s": "CPU s of the tree"},
            ASGI,
            measure_crash_loop,
            rounds=1,
            default_servers=("prefork", "gunicorn", "uvicorn"),
        ),
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
        ),
    )
}
