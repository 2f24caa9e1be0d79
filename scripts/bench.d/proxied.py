"""What restarting three nodes, one after the other, costs the clients of the proxy before them."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from case import Case, Conditions, Figures
from errors import BenchError
from servers import Server, prefork

sys.path.append(str(Path(__file__).parents[2]))
from tests.integration.load import MixedLoad
from tests.integration.proxies import (
    HAPROXY,
    NGINX,
    NODES,
    list_arguments,
    restart_each,
    run_haproxy,
    run_nginx,
    wait_answer_of,
)
from tests.integration.running import Running

HAPROXY_SERVER = Server("haproxy", "prefork", prefork)
HAPROXY_BLIND = Server("haproxy-no-delay", "prefork", prefork)
NGINX_SERVER = Server("nginx", "prefork", prefork)
NGINX_BLIND = Server("nginx-no-delay", "prefork", prefork)


def measure_restarts(_: Conditions, server: Server) -> Figures:
    """The tree's prefork, two workers a node, all on unix sockets; six clients that check every byte."""
    program, run = (HAPROXY, run_haproxy) if server in (HAPROXY_SERVER, HAPROXY_BLIND) else (NGINX, run_nginx)
    if program is None:
        raise BenchError("it is not installed")
    delay = "0s" if server in (HAPROXY_BLIND, NGINX_BLIND) else "1s"
    with tempfile.TemporaryDirectory(prefix="bench-proxies-") as name, ExitStack() as undo:
        folder = Path(name)

        def begin(node: int) -> Running:
            running = Running(folder, list_arguments(node, delay))
            undo.callback(running.clean_up)
            return running.wait_serving()

        nodes = {node: begin(node) for node in NODES}
        with run(folder) as front:
            for node in NODES:
                wait_answer_of(node, front)
            with MixedLoad(front) as load:
                began = time.perf_counter()
                restart_each(nodes, begin, [front], [load])
                took_s = time.perf_counter() - began
    report = load.report
    return {
        "requests": [report.ok + report.lost],
        "failed": [report.lost],
        "restarts": [len(nodes)],
        "restart_ms": [took_s / len(nodes) * 1000],
    }


CASES = (
    Case(
        "proxies",
        "three nodes behind HAProxy (retries 0) and nginx, with the configurations of conf/, each restarted under load",
        {"requests": "requests", "failed": "failed", "restarts": "restarts", "restart_ms": "ms per restart"},
        {each.name: each for each in (HAPROXY_SERVER, HAPROXY_BLIND, NGINX_SERVER, NGINX_BLIND)},
        measure_restarts,
        rounds=1,
    ),
)
