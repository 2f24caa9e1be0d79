"""How long does an answer take when every server has the same to do?

At full load latency is only connections divided by throughput, so all get one fixed rate, about half of what the
slowest of the fast ones can do. wrk has no rate. h2load has (`--rps --h1`), but per connection and from the moment of
sending, so it waits politely with a server that stalls, and Debian's prints no percentiles; `hey` waits as well. So
pacer.py: open loop, from the moment a request was due. It adds its own wake-ups, the same to all: read the distance to
bare-uvloop.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from case import Case, Conditions, Figures
from ceilings import CEILINGS
from errors import BenchError
from lab import running
from request import Request, check_answer
from servers import ASGI, WSGI, Server
from throughput import CONNECTIONS, HELLO, WARM_UP_S, Exchange

PACER = Path(__file__).parent / "pacer.py"
BUSY_PERCENT = 70.0
"""A load that works more than this measures itself."""


def measure_latency(app: str) -> Callable[[Conditions, Server], Figures]:
    exchange = Exchange(app, Request(), HELLO)

    def measure(on: Conditions, server: Server) -> Figures:
        alone = on.workers == 1
        with running(server, exchange.make_task(on), pin=on.cores.server if alone else None) as started:
            started.wait_first_answer()
            check_answer(started.port, exchange.request, exchange.answer)
            before_s = started.read_cpu_s()
            report = pace(started.port, on)
            cpu_s = started.read_cpu_s() - before_s
        if report["cpu_percent"] > BUSY_PERCENT:
            raise BenchError(f"the load itself was busy at {on.rate:,.0f}/s: choose a lower --rate")
        if report["rate"] < on.rate * 0.9:
            raise BenchError(f"{report['rate']:,.0f}/s is all it answered of {on.rate:,.0f}/s")
        return {
            "p50_us": [report["p50_us"]],
            "p99_us": [report["p99_us"]],
            "cpu_us": [cpu_s / report["requests"] * 1e6],
            "load_percent": [report["cpu_percent"]],
        }

    return measure


def pace(port: int, on: Conditions) -> dict[str, float]:
    seconds = on.seconds or 5.0
    pin = ["taskset", "-c", str(on.cores.load)] if on.workers == 1 else []
    words = [port, on.rate, seconds, CONNECTIONS, WARM_UP_S]
    command = [*pin, sys.executable, str(PACER), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WARM_UP_S + seconds + 60, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"under load at {on.rate:,.0f}/s: {done.stderr.strip()[-300:]}")
    report: dict[str, float] = json.loads(done.stdout)
    return report


METRICS = {
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "cpu_us": "CPU µs/request",
    "load_percent": "load's % of its core",
}


SLOW = ("gunicorn-gthread", "hypercorn")
"""They cannot answer what is half the work of the others: ask for them by name, with a lower rate."""


def make_case(name: str, text: str, servers: dict[str, Server], app: str) -> Case:
    # Who closes after each answer is out: to connect anew takes longer than most answers.
    kept = {key: server for key, server in servers.items() if server.keeps_alive}
    default = tuple(key for key in kept if key not in SLOW)
    measure = measure_latency(app)
    return Case(name, text, METRICS, kept, measure, rounds=3, every_python=True, default_servers=default)


CASES = (
    make_case(
        "latency", "p50 and p99 of plaintext, the same --rate for all", ASGI | CEILINGS, "bench_app:asgi"
    ),
    make_case("latency-wsgi", "the same over WSGI", WSGI | CEILINGS, "bench_app:wsgi"),
)
