"""What a server costs before anybody asks anything: its start, and its idleness."""

from __future__ import annotations

import re
import time
from pathlib import Path

from case import Case, Conditions, Figures
from lab import list_descendants, read_memory_mb, running
from servers import ASGI, Server, Task


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


def read_pss_mb(pid: int) -> float:
    """The share of memory that is this process's own; shared pages are divided among those who share them."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0


CASES = (
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
)
