"""`--agent-check`: HAProxy hears whether it shall send clients, and how many; the real one believes it."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import connect
from tests.integration.proxies import HAPROXY, proxying
from tests.integration.running import wait_until

CONFIGURATION = """
global
    stats socket {folder}/stats.sock
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
frontend web
    bind unix@{folder}/front.sock
    default_backend app
backend app
    default-server agent-check agent-inter 100ms agent-port {port} agent-addr 127.0.0.1 weight 100
    server one unix@{folder}/app.sock
"""


def ask_haproxy(folder: Path) -> tuple[str, str]:
    """What it makes of the server: its status and its weight."""
    with connect(f"{folder}/stats.sock") as stats:
        stats.sendall(b"show stat\n")
        lines = stats.makefile().read().splitlines()
    names = lines[0].removeprefix("# ").split(",")
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
    (server,) = (row for row in rows if row["svname"] == "one")
    return server["status"], server["weight"]


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_haproxy_follows_the_workers_and_the_stop(start: Start, tmp_path: Path) -> None:
    running = start(
        *("hello_asgi:app", "--workers", "2", "--shutdown-delay", "5s", "--agent-check", "127.0.0.1:0"),
        bind="unix:app.sock",
    )
    port = int(running.wait_for_record("agent-check listening").fields["address"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 5) as agent:
        assert agent.makefile().read() == "up ready 100%\n"

    (tmp_path / "haproxy.cfg").write_text(CONFIGURATION.format(folder=tmp_path, port=port))
    command = [str(HAPROXY), "-db", "-f", str(tmp_path / "haproxy.cfg")]
    with proxying(command, tmp_path / "front.sock", tmp_path / "haproxy.log"):
        wait_until(lambda: ask_haproxy(tmp_path)[1] == "100", "the whole weight")
        running.signal(signal.SIGTERM)
        wait_until(lambda: ask_haproxy(tmp_path)[0].startswith("DRAIN"), "it drains", 4)
        assert running.process.poll() is None
        running.signal(signal.SIGTERM)  # again: now
        assert running.wait_exit() == 0
