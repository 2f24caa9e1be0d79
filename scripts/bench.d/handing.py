"""Handing over: how many connections a second the master gives to its workers, and what each costs it.

The load must not be what is measured. So the master is stopped while the kernel fills its backlog, is let go on a core
of its own, and the clock runs until the last connection has reached a worker, which closes it: the clients only wait.
Workers share the other cores with nobody who has anything to do.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from case import Case, Conditions, Figures
from errors import BenchError
from lab import list_descendants, running
from servers import Server, Task, balanced

WORKERS = 2
WAITING = 4000
"""Connections at a time; the kernel keeps a few less than SOMAXCONN, 4,096 by default."""
FILLS = 5
SPARE_DESCRIPTORS = 100
ADDRESSES = 200
"""Clients come from so many addresses, or --balance ip-hash would have one worker."""
TIMEOUT_S = 30.0
RESET = struct.pack("ii", 1, 0)


def measure_handing(on: Conditions, server: Server) -> Figures:
    figures: Figures = {"rate": [], "capacity": [], "master_us": []}
    cores = sorted(os.sched_getaffinity(0))
    waiting = min(WAITING, read_somaxconn() - 96)
    with (
        many_descriptors(waiting),
        pinned(cores[1:] or cores),
        running(with_backlog(server), Task(on.environment.bin, "closes:Closer", WORKERS)) as started,
    ):
        started.wait_settled(WORKERS)
        master = started.process.pid
        for pid in [master, *list_descendants(master)]:
            os.sched_setaffinity(pid, cores[:1] if pid == master else cores[1:] or cores)
        hand(master, started.port, waiting)  # the first time everything is new
        for _ in range(FILLS):
            took_s, cpu_s = hand(master, started.port, waiting)
            figures["rate"].append(waiting / took_s)
            figures["capacity"].append(waiting / cpu_s)
            figures["master_us"].append(cpu_s / waiting * 1e6)
    return figures


def hand(master: int, port: int, count: int) -> tuple[float, float]:
    """So many connections at once: the seconds until each has been closed, and the master's CPU."""
    with ExitStack() as opened:
        os.kill(master, signal.SIGSTOP)
        try:
            clients = [opened.enter_context(connect(port, number)) for number in range(count)]
            before_s = read_cpu_s(master)
            began = time.perf_counter()
        finally:
            os.kill(master, signal.SIGCONT)
        for client in clients:
            if client.recv(1):
                raise BenchError("the server said something")
        took_s = time.perf_counter() - began
        return took_s, read_cpu_s(master) - before_s


def connect(port: int, number: int) -> socket.socket:
    client = socket.socket()
    client.settimeout(TIMEOUT_S)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)  # no port waits for its time to be over
    client.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
    client.connect(("127.0.0.1", port))
    return client


def with_backlog(server: Server) -> Server:
    return replace(server, command=lambda task: [*server.command(task), "--backlog", str(read_somaxconn())])


def read_somaxconn() -> int:
    return int(Path("/proc/sys/net/core/somaxconn").read_text())


def read_cpu_s(pid: int) -> float:
    """In nanoseconds where /proc/PID/stat has hundredths of a second."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise BenchError(f"needs {wanted} descriptors, ulimit -n is at most {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def pinned(cores: list[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


CASES = (
    Case(
        "handing",
        "4,000 connections in the backlog of a stopped master, which is let go: until 2 workers have them all",
        {
            "rate": "connections/s",
            "capacity": "connections/s of the master's CPU",
            "master_us": "master's CPU µs/connection",
        },
        {f"prefork {name}": balanced(name) for name in ("round-robin", "least-connections", "ip-hash")},
        measure_handing,
        rounds=3,
    ),
)
