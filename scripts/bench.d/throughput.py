"""How many requests can a worker answer, and what does each cost? One case per kind of request, over ASGI and WSGI.

CPU per request is the figure to trust: what else the machine does moves it less than the rate. Each server's answer is
checked once, byte for byte, before it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from case import Case, Conditions, Figures
from ceilings import CEILINGS, ECHO_CEILINGS
from errors import BenchError
from lab import running
from request import BROWSER, ECHO, VARIED, Request, check_answer
from servers import ASGI, WSGI, Server, Task
from wrk import Load, finish_wrk, start_wrk

CONNECTIONS = 64
WARM_UP_S = 1.0
METRICS = {"rate": "requests/s", "cpu_us": "CPU µs/request"}

HELLO = b"Hello, world!"
JSON = b'{"message": "Hello, world!"}'
COMPACT_JSON = b'{"message":"Hello, world!"}'
PAGE = b"0123456789abcdef" * 640


@dataclass(frozen=True)
class Exchange:
    """A request, the app that answers it, and the right answer."""

    app: str
    request: Request
    answer: bytes

    def make_task(self, on: Conditions) -> Task:
        canned = None if self.answer == self.request.body else self.answer
        return Task(on.environment.bin, self.app, on.workers, canned=canned)


def measure_throughput(exchange: Exchange) -> Callable[[Conditions, Server], Figures]:
    def measure(on: Conditions, server: Server) -> Figures:
        # One worker has a core, the load the other; more workers and the load share whatever there is.
        alone = on.workers == 1
        with running(server, exchange.make_task(on), pin=on.cores.server if alone else None) as started:
            started.wait_first_answer()
            check_answer(started.port, exchange.request, exchange.answer)
            load(on, started.port, WARM_UP_S)
            before_s = started.read_cpu_s()
            done = load(on, started.port, on.seconds or 5.0)
            cpu_s = started.read_cpu_s() - before_s
        return {"rate": [done.requests_per_s], "cpu_us": [cpu_s / max(done.requests, 1) * 1e6]}

    def load(on: Conditions, port: int, seconds: float) -> Load:
        alone = on.workers == 1
        wrk = start_wrk(
            port,
            connections=CONNECTIONS,
            duration_s=seconds,
            core=on.cores.load if alone else None,
            threads=1 if alone else 2,
            request=exchange.request,
        )
        done = finish_wrk(wrk, seconds + 20)
        # A server without keep-alive: wrk counts some of its closes as read errors, and they cost it nothing.
        if done.connect_errors or done.other_errors:
            raise BenchError(
                f"{done.connect_errors} connect errors, {done.other_errors} bad answers under load"
            )
        if not done.requests:
            raise BenchError("not one answer under load")
        return done

    return measure


def make_case(name: str, text: str, servers: dict[str, Server], exchange: Exchange, needs: str = "") -> Case:
    measure = measure_throughput(exchange)
    return Case(name, text, METRICS, servers, measure, rounds=3, every_python=True, needs=needs)


def make_pair(name: str, text: str, app: str, request: Request, answer: bytes) -> tuple[Case, Case]:
    """The same over ASGI and over WSGI, by the `asgi` and the `wsgi` whose names `app` begins."""
    ceilings = ECHO_CEILINGS if request.body else CEILINGS
    return (
        make_case(name, text, ASGI | ceilings, Exchange(f"{app}asgi", request, answer)),
        make_case(
            f"{name}-wsgi", "the same over WSGI", WSGI | ceilings, Exchange(f"{app}wsgi", request, answer)
        ),
    )


NAMED = Request(path="/hello/world")

CASES = (
    *make_pair("plaintext", "a 13-byte answer to wrk's own GET", "bench_app:", Request(), HELLO),
    *make_pair("json", "json.dumps of a small dict", "http_apps:json_", Request(), JSON),
    *make_pair("body-10k", "an answer of 10,240 bytes", "http_apps:page_", Request(), PAGE),
    *make_pair("echo", "POST of 1,024 bytes, said back", "http_apps:echo_", ECHO, ECHO.body),
    *make_pair("browser", "plaintext, 20 headers as a browser sends them", "bench_app:", BROWSER, HELLO),
    *make_pair("varied", "plaintext, each request different from the last", "bench_app:", VARIED, HELLO),
    make_case(
        "starlette",
        "a Starlette route with a parameter, JSONResponse",
        ASGI,
        Exchange("starlette_app:app", NAMED, COMPACT_JSON),
        needs="starlette",
    ),
    make_case(
        "flask",
        "a Flask route with a parameter, jsonify",
        WSGI,
        Exchange("flask_app:app", NAMED, COMPACT_JSON + b"\n"),
        needs="flask",
    ),
)
