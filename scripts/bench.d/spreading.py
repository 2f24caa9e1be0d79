"""Which worker gets the connections: the busiest one's share, and what a connection for each request costs.

The counts are taken from the answers, so they mean the same for every server. Connections are held open: what is
counted is where they are, not how quickly they were answered.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from contextlib import ExitStack, suppress

from case import Case, Conditions, Figures
from errors import BenchError
from lab import Started, running
from servers import ASGI, Server, Task
from wrk import finish_wrk, start_wrk

WORKERS = 4
ASK = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
TIMEOUT_S = 2.0
BURSTS = {"at_once": [64], "one_by_one": [1] * 400, "bursts": [50] * 20}


def measure_balance(on: Conditions, server: Server) -> Figures:
    with running(server, Task(on.environment.bin, "pids:asgi", WORKERS)) as started:
        started.wait_first_answer()
        started.wait_settled(WORKERS)
        figures: Figures = {"unanswered": [0.0]}
        for name, bursts in BURSTS.items():
            share, unanswered = measure_share(started, bursts)
            figures[name] = [share]
            figures["unanswered"][0] += unanswered
        return figures


def measure_share(started: Started, bursts: list[int]) -> tuple[float, int]:
    """Connections of the busiest worker as a share of the mean, when so many came at a time; and how many had no
    answer in time while the others were open: a server may have a bound for each worker.
    """
    found: Counter[bytes] = Counter()
    with ExitStack() as opened:
        for burst in bursts:
            clients = [
                opened.enter_context(socket.create_connection(("127.0.0.1", started.port), TIMEOUT_S))
                for _ in range(burst)
            ]
            for client in clients:
                client.sendall(ASK)
            deadline = time.perf_counter() + TIMEOUT_S
            for client in clients:
                client.settimeout(max(0.01, deadline - time.perf_counter()))
                with suppress(TimeoutError):
                    found[read_pid(client)] += 1
    answered = found.total()
    return max(found.values()) / (answered / WORKERS), sum(bursts) - answered


def read_pid(client: socket.socket) -> bytes:
    received = b""
    while True:
        data = client.recv(4096)
        received += data
        head, _, body = received.partition(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if length and len(body) >= int(length[0].partition(b":")[2]):
            return body
        if not data:
            raise BenchError(f"no answer on a connection: {received[:200]!r}")


def measure_connections(on: Conditions, server: Server) -> Figures:
    seconds = on.seconds or 5.0
    with running(server, Task(on.environment.bin, "bench_app:asgi", WORKERS)) as started:
        started.wait_first_answer()
        started.wait_settled(WORKERS)
        before_s = started.read_cpu_s()
        wrk = start_wrk(started.port, connections=64, duration_s=seconds, core=None, close=True)
        done = finish_wrk(wrk, seconds + 20)
        cpu_s = started.read_cpu_s() - before_s
        if done.connect_errors or done.other_errors:
            raise BenchError(f"{done.connect_errors} connect errors, {done.other_errors} bad answers")
        return {"rate": [done.requests_per_s], "cpu_us": [cpu_s / max(done.requests, 1) * 1e6]}


CASES = (
    Case(
        "balance",
        "the busiest of 4 workers over the mean: 64 connections at once, 400 one by one, 1,000 in bursts of 50",
        {
            "at_once": "64 at once",
            "one_by_one": "400 one by one",
            "bursts": "20 × 50",
            "unanswered": "no answer",
        },
        ASGI,
        measure_balance,
        rounds=3,
        default_servers=("prefork", "uvicorn", "gunicorn", "granian"),
    ),
    Case(
        "connections",
        "4 workers, a connection for each request, 64 clients on the same cores",
        {"rate": "requests/s", "cpu_us": "CPU µs/request"},
        ASGI,
        measure_connections,
        rounds=3,
        default_servers=("prefork", "uvicorn", "gunicorn", "granian"),
    ),
)
