"""What the death of a worker costs: its successor, timed; and an app whose every worker dies young."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from case import Case, Conditions, Figures
from errors import BenchError
from lab import Started, is_spare, list_descendants, running
from servers import ASGI, Server, Task
from wrk import finish_wrk, start_wrk

POLL_S = 0.001


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


CASES = (
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
)
