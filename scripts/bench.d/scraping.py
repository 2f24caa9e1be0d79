"""What it costs to be watched: a scrape of 16 workers, the master's share of it, the admin process's memory."""

from __future__ import annotations

import http.client
import socket
import time
from pathlib import Path
from statistics import median

from case import Case, Conditions, Figures
from lab import list_descendants, read_cpu_with_reaped_s, running
from resting import read_pss_mb
from servers import Server, Task, prefork

WORKERS = 16
SCRAPES = 100
APART_S = 0.11
"""Longer than an answer of the master's is good for: each scrape is a question to it."""

WATCHED = Server("prefork", "prefork", lambda task: [*prefork(task), "--admin", "unix:admin.sock"])


class Scraper(http.client.HTTPConnection):
    """On a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))

    def scrape_ms(self) -> float:
        began = time.perf_counter()
        self.request("GET", "/metrics")
        response = self.getresponse()
        assert response.status == 200
        assert b"prefork_requests_total" in response.read()
        return (time.perf_counter() - began) * 1000


def measure_scrapes(on: Conditions, server: Server) -> Figures:
    with running(server, Task(on.environment.bin, "bench_app:asgi", WORKERS)) as started:
        started.wait_first_answer()
        started.wait_settled(WORKERS)
        path, master = started.folder / "admin.sock", started.process.pid
        scraper = Scraper(path)
        scraper.scrape_ms()
        before_s, kept, fresh = read_cpu_with_reaped_s(master), [], []
        for _ in range(SCRAPES):
            time.sleep(APART_S)
            kept.append(scraper.scrape_ms())
        spent_s = read_cpu_with_reaped_s(master) - before_s
        for _ in range(SCRAPES):
            time.sleep(APART_S)
            fresh.append(Scraper(path).scrape_ms())
        return {
            "kept_ms": [median(kept)],
            "fresh_ms": [median(fresh)],
            "master_ms": [spent_s / SCRAPES * 1000],
            "admin_mb": [sum(read_pss_mb(pid) for pid in list_descendants(master) if is_admin(pid))],
        }


def is_admin(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"prefork: admin")


CASES = (
    Case(
        "admin",
        f"a scrape of {WORKERS} workers: how long it takes, the master's CPU, the admin process's memory",
        {
            "kept_ms": "kept connection, median ms",
            "fresh_ms": "fresh connection, median ms",
            "master_ms": "master CPU ms/scrape",
            "admin_mb": "admin PSS MB",
        },
        {"prefork": WATCHED},
        measure_scrapes,
        rounds=1,
        default_servers=("prefork",),
    ),
)
