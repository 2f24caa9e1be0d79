"""What the workers of an app with much data take together, before and after requests.

Workers forked from one import share its pages until somebody writes to them, and CPython writes a reference count into
every object that it looks at. So memory is read three times: idle, after requests that leave the data alone, and after
requests that go through all of it.
"""

from __future__ import annotations

import http.client

from case import Case, Conditions, Figures
from lab import Started, list_descendants, running
from resting import read_pss_mb
from servers import ASGI, Server, Task, gunicorn

WORKERS = 8
PLAIN_EACH = 500
READING_EACH = 16
CONNECTIONS = 16 * WORKERS
"""So many at a time, so that every worker gets some whoever balances."""

PRELOADING = Server("gunicorn-preload", "gunicorn", gunicorn("-k", "asgi"))
SERVERS = {
    PRELOADING.name: PRELOADING,
    **{name: server for name, server in ASGI.items() if name != "gunicorn"},
}


def measure_sharing(on: Conditions, server: Server) -> Figures:
    task = Task(on.environment.bin, "holds_data:asgi", WORKERS, preload=True)
    with running(server, task) as started:
        started.wait_first_answer()
        started.wait_settled(WORKERS)
        figures: Figures = {"idle_mb": [read_tree_mb(started)]}
        ask_often(started.port, "/", PLAIN_EACH * WORKERS)
        figures["plain_mb"] = [read_tree_mb(started)]
        figures["growth_percent"] = [(figures["plain_mb"][0] / figures["idle_mb"][0] - 1) * 100]
        ask_often(started.port, "/read", READING_EACH * WORKERS)
        figures["reading_mb"] = [read_tree_mb(started)]
    return figures


def read_tree_mb(started: Started) -> float:
    """PSS of the master and all below it: zygotes, spares and helpers count too."""
    return sum(map(read_pss_mb, [started.process.pid, *list_descendants(started.process.pid)]))


def ask_often(port: int, path: str, count: int) -> None:
    """So many requests, spread over connections that are open at the same time."""
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(CONNECTIONS)]
    try:
        for number in range(count):
            connection = connections[number % CONNECTIONS]
            connection.request("GET", path)
            connection.getresponse().read()
    finally:
        for connection in connections:
            connection.close()


CASES = (
    Case(
        "memory",
        f"{WORKERS} workers of an app with 100 MB of objects: PSS of the tree, idle and after requests",
        {
            "idle_mb": "idle MB",
            "plain_mb": f"after {PLAIN_EACH} plain requests each",
            "growth_percent": "growth %",
            "reading_mb": "after reading it all",
        },
        SERVERS,
        measure_sharing,
        rounds=3,
        default_servers=("prefork", "gunicorn-preload", "uvicorn"),
    ),
)
