"""A connection for each request: what accepting costs, by the workers or by the master that hands over.

The rate is that of everything together, workers and load included. What the master can do by itself is in its CPU: a
core has a million microseconds in a second.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from case import Case, Conditions, Figures
from errors import BenchError
from lab import list_descendants, read_cpu_with_reaped_s, running
from servers import ASGI, PROGRAMS, Server, Task, balanced
from wrk import Load, finish_wrk, start_wrk

WORKERS = 2
CONNECTIONS = 128


def measure_accepting(on: Conditions, server: Server) -> Figures:
    with running(server, Task(on.environment.bin, "bench_app:asgi", WORKERS)) as started:
        started.wait_first_answer()
        started.wait_settled(WORKERS)
        load(started.port, 1.0)
        before_s = read_cpu_with_reaped_s(started.process.pid)
        done = load(started.port, on.seconds or 5.0)
        master_us = (read_cpu_with_reaped_s(started.process.pid) - before_s) / done.requests * 1e6
    figures: Figures = {"rate": [done.requests_per_s], "master_us": [master_us]}
    if server.balances:
        figures["capacity"] = [1e6 / master_us]
    return figures


def measure_handing(on: Conditions, server: Server) -> Figures:
    """The master on a core of its own, workers and load on the others: whoever is slower is at its limit."""
    seconds = on.seconds or 3.0
    with running(server, Task(on.environment.bin, "closes:Closer", WORKERS)) as started:
        started.wait_settled(WORKERS)
        master = started.process.pid
        cores = sorted(os.sched_getaffinity(0))
        for pid in [master, *list_descendants(master)]:
            os.sched_setaffinity(pid, cores[:1] if pid == master else cores[1:] or cores)
        knock(on.environment.bin / "python", started.port, 0.5, cores[1:] or cores)
        before_s = read_cpu_with_reaped_s(master)
        rate, count = knock(on.environment.bin / "python", started.port, seconds, cores[1:] or cores)
        master_us = (read_cpu_with_reaped_s(master) - before_s) / count * 1e6
    return {"rate": [rate], "master_us": [master_us], "capacity": [1e6 / master_us]}


def knock(python: Path, port: int, seconds: float, cores: list[int]) -> tuple[float, int]:
    """Connections per second, and how many."""
    pin = ["taskset", "-c", ",".join(map(str, cores))]
    command = [*pin, str(python), str(PROGRAMS / "knock.py"), str(port), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode != 0:
        raise BenchError(f"knock.py: {done.stderr.strip()[-300:]}")
    count, took_s = done.stdout.split()
    return int(count) / float(took_s), int(count)


def load(port: int, seconds: float) -> Load:
    wrk = start_wrk(port, connections=CONNECTIONS, duration_s=seconds, core=None, close=True)
    done = finish_wrk(wrk, seconds + 20)
    if done.connect_errors or done.other_errors or not done.requests:
        raise BenchError(f"{done.connect_errors} connect errors, {done.other_errors} bad answers under load")
    return done


SERVERS = {
    "prefork": ASGI["prefork"],
    "prefork round-robin": balanced("round-robin"),
    "prefork least-connections": balanced("least-connections"),
    "prefork ip-hash": balanced("ip-hash"),
    "uvicorn": ASGI["uvicorn"],
}

CASES = (
    Case(
        "accepting",
        "a connection for each request, 2 workers, 128 at a time; prefork's --balance is shared unless named",
        {
            "rate": "connections/s",
            "master_us": "master's CPU µs/connection",
            "capacity": "connections/s of a master's core",
        },
        SERVERS,
        measure_accepting,
        rounds=3,
    ),
    Case(
        "handing",
        "the master on a core of its own, 2 workers and the load on the rest: connections that are closed at once",
        {
            "rate": "connections/s",
            "master_us": "master's CPU µs/connection",
            "capacity": "connections/s of a master's core",
        },
        {name: server for name, server in SERVERS.items() if server.balances},
        measure_handing,
        rounds=3,
    ),
)
