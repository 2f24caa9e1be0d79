"""The servers that are measured: for each, how it is started. One small entry per server, nothing tuned in secret.

Every server gets what its own documentation recommends for production: access log off, uvloop and C parsers on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """What a server is asked to run."""

    bin: Path
    """Where the environment keeps its programs."""
    app: str
    workers: int
    port: int = 0
    """Filled in at the start: one that is free."""
    preload: bool = False
    """Import the app once, before the fork, if the server can."""
    log_level: str = "warning"


@dataclass(frozen=True)
class Server:
    name: str
    package: str
    command: Callable[[Task], list[str]]


def prefork(task: Task) -> list[str]:
    options = ["-b", f"127.0.0.1:{task.port}", "-w", str(task.workers), "--log-level", task.log_level]
    return [str(task.bin / "prefork"), task.app, *options]


def uvicorn(task: Task) -> list[str]:
    options = ["--port", str(task.port), "--workers", str(task.workers), "--log-level", "warning"]
    fast = ["--no-access-log", "--http", "httptools", "--loop", "uvloop"]
    return [str(task.bin / "uvicorn"), task.app, *options, *fast]


def gunicorn(*kind: str) -> Callable[[Task], list[str]]:
    def command(task: Task) -> list[str]:
        options = ["-b", f"127.0.0.1:{task.port}", "-w", str(task.workers), "--log-level", "warning"]
        # Its control socket would be shared by all that run here.
        more = ["--no-control-socket", *(["--preload"] if task.preload else [])]
        return [str(task.bin / "gunicorn"), task.app, *options, *kind, *more]

    return command


def granian(interface: str) -> Callable[[Task], list[str]]:
    def command(task: Task) -> list[str]:
        options = ["--port", str(task.port), "--workers", str(task.workers), "--log-level", "warning"]
        return [str(task.bin / "granian"), "--interface", interface, *options, "--no-access-log", task.app]

    return command


def hypercorn(task: Task) -> list[str]:
    options = ["-b", f"127.0.0.1:{task.port}", "-w", str(task.workers), "-k", "uvloop"]
    return [str(task.bin / "hypercorn"), *options, "--log-level", "warning", task.app]


ASGI = {
    server.name: server
    for server in (
        Server("prefork", "prefork", prefork),
        Server("uvicorn", "uvicorn", uvicorn),
        Server("granian", "granian", granian("asgi")),
        Server("gunicorn", "gunicorn", gunicorn("-k", "asgi")),
        Server("hypercorn", "hypercorn", hypercorn),
    )
}

WSGI = {
    server.name: server
    for server in (
        Server("prefork", "prefork", prefork),
        Server("gunicorn-sync", "gunicorn", gunicorn("-k", "sync")),
        Server("gunicorn-gthread", "gunicorn", gunicorn("-k", "gthread", "--threads", "4")),
        Server("granian", "granian", granian("wsgi")),
    )
}

PEERS = ["uvicorn[standard]", "gunicorn", "granian[uvloop]", "hypercorn[uvloop]"]
"""What pip installs beside prefork."""

WELCOME = {"gunicorn": "fast"}
"""Package -> the extra with its C parser, installed if it can be had for the newest version."""
