"""A connection for each request: what accepting costs, by the workers or by the master that hands over.

The rate is that of everything together, workers and load included. What the master can do by itself is in its CPU: a
core has a million microseconds in a second.
"""

from __future__ import annotations

from case import Case, Conditions, Figures
from errors import BenchError
from lab import read_cpu_with_reaped_s, running
from servers import ASGI, Server, Task, balanced
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
)
