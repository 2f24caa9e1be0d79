"""Load at a fixed rate, whatever the server does.

pacer.py PORT RATE SECONDS CONNECTIONS WARM_UP_SECONDS

Open loop: a request has its moment before the run begins, and its latency counts from that moment, not from when it
could be sent. So a server that stalls for 100 ms is charged with all the requests that were due meanwhile; wrk, which
waits with them, would see one. Gaps are exponential, as those between independent users, from the same seed for every
server. Prints one line of JSON.

One thread that selects: timers of a few microseconds, and a few dozen µs of CPU per request, so at the rates of a
Python server it sleeps most of the time. `cpu_percent` says so, and its reader refuses figures of a load that had too
much to do itself.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HEAD, TAIL = b"HTTP/1.1 200 ", b"\r\n\r\nHello, world!"
LEAD_S = 0.05
"""Between the last preparation and the first request."""
PATIENCE_S = 10.0
"""How long after the last request answers may come."""


class WrongError(Exception):
    """An answer that no server may be measured on."""


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due_s = 0.0
        self.received = b""

    def send(self, due_s: float) -> None:
        self.due_s = due_s
        self.socket.send(REQUEST)

    def is_answered(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return False
        if not data:
            raise WrongError("it closed a keep-alive connection")
        self.received += data
        if not self.received.endswith(TAIL):
            return False
        if not self.received.startswith(HEAD):
            raise WrongError(f"wrong answer: {self.received[:80]!r}")
        self.received = b""
        return True


def drive(port: int, moments_s: list[float], connections: int) -> list[float]:
    """The latency of each request in seconds, in the order of the answers."""
    idle = deque(Connection(port) for _ in range(connections))
    by_fd = {connection.socket.fileno(): connection for connection in idle}
    poller = select.epoll()
    for fd in by_fd:
        poller.register(fd, select.EPOLLIN)
    clock = time.perf_counter
    start_s = clock() + LEAD_S
    deadline_s = start_s + moments_s[-1] + PATIENCE_S
    latencies_s: list[float] = []
    sent, total = 0, len(moments_s)
    while len(latencies_s) < total:
        now_s = clock()
        while sent < total and idle and start_s + moments_s[sent] <= now_s:
            # The longest idle first: no connection rests until the server gives it up.
            idle.popleft().send(start_s + moments_s[sent])
            sent += 1
        until_s = start_s + moments_s[sent] if sent < total and idle else deadline_s
        if now_s > deadline_s:
            raise WrongError(f"{total - len(latencies_s)} of {total} answers are missing")
        # epoll alone rounds its timeout up to milliseconds.
        if not select.select([poller], [], [], max(0.0, until_s - clock()))[0]:
            continue
        for fd, _ in poller.poll(0):
            connection = by_fd[fd]
            if connection.is_answered():
                latencies_s.append(clock() - connection.due_s)
                idle.append(connection)
    return latencies_s


def find_percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def main(port: int, rate: float, seconds: float, connections: int, warm_up_s: float) -> None:
    with suppress(OSError):
        # The kernel may round a timer by 50 µs, which is more than an answer takes.
        Path("/proc/self/timerslack_ns").write_text("1")
    gaps = random.Random(20)
    count = max(1, round(rate * (warm_up_s + seconds)))
    moments_s = list(accumulate(gaps.expovariate(rate) for _ in range(count)))
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    latencies_s = drive(port, moments_s, connections)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_began_s
    # In the order of the answers, which is that of the requests but for a few at the border.
    counted = sorted(latencies_s[round(rate * warm_up_s) :])
    report = {
        "requests": len(latencies_s),
        "rate": len(latencies_s) / took_s,
        "cpu_percent": cpu_s / took_s * 100,
        "p50_us": find_percentile(counted, 50) * 1e6,
        "p99_us": find_percentile(counted, 99) * 1e6,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    words = sys.argv[1:]
    try:
        main(int(words[0]), float(words[1]), float(words[2]), int(words[3]), float(words[4]))
    except (WrongError, OSError) as error:
        sys.exit(str(error))
