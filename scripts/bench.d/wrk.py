"""Load by wrk: started with a request, pinned if there is a core for it, and its count of what went wrong.

wrk sends the next request of a connection when the answer to the last is there: it finds how much a server can do, and
says nothing honest about latency (see pacer.py for that).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from errors import BenchError
from request import Request

GET = Request()


@dataclass(frozen=True)
class Load:
    """What wrk counted."""

    requests: int
    requests_per_s: float
    connect_errors: int
    read_errors: int
    other_errors: int
    """Writes, timeouts and answers other than 2xx and 3xx."""


def start_wrk(
    port: int,
    *,
    connections: int,
    duration_s: float,
    core: int | None,
    threads: int = 1,
    close: bool = False,
    request: Request = GET,
) -> subprocess.Popen[str]:
    """Wrk at work on one core, or with `core` None wherever the kernel puts it."""
    if shutil.which("wrk") is None:
        raise BenchError("wrk is not installed (Debian: apt-get install wrk)")
    head = [*request.headers, *([("Connection", "close")] if close else [])]
    options = [f"-t{threads}", f"-c{connections}", f"-d{max(1, round(duration_s))}s", "--timeout", "5s"]
    options += [word for name, value in head for word in ("-H", f"{name}: {value}")]
    if request.script:
        options += ["-s", str(request.script)]
    pin = [] if core is None else ["taskset", "-c", str(core)]
    command = [*pin, "wrk", *options, f"http://127.0.0.1:{port}{request.path}"]
    if request.body:
        command += ["--", request.body.decode("ascii")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish_wrk(wrk: subprocess.Popen[str], timeout_s: float) -> Load:
    try:
        output, _ = wrk.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        wrk.kill()
        output, _ = wrk.communicate()
        raise BenchError(f"wrk did not end: {output[-200:]}") from None
    total = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if wrk.returncode != 0 or not total or not rate:
        raise BenchError(f"wrk failed: {output[-300:]}")
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    connect, read, write, late = map(int, errors.groups()) if errors else (0, 0, 0, 0)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    others = write + late + (int(bad[1]) if bad else 0)
    return Load(int(total[1]), float(rate[1]), connect, read, others)
