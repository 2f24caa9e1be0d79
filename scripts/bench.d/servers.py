"""The servers that are measured: for each, how it is started. One small entry per server, nothing tuned in secret.

Every server gets what its own documentation recommends for production: access log off, uvloop and C parsers on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"


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
    canned: bytes | None = b""
    """What a ceiling, which runs no app, answers; None: the body of the request."""


def write_nothing(_: Task) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Server:
    name: str
    package: str
    """Whose version is shown; without it the server is left out."""
    command: Callable[[Task], list[str]]
    """Run in an empty folder of its own."""
    files: Callable[[Task], dict[str, str]] = field(default=write_nothing)
    """Name -> text of what must be in that folder."""
    keeps_alive: bool = True
    """Does it answer more than one request on a connection?"""
    balances: bool = False
    """Does its master hand out the connections?"""


def prefork(task: Task) -> list[str]:
    options = ["-b", f"127.0.0.1:{task.port}", "-w", str(task.workers), "--log-level", task.log_level]
    return [str(task.bin / "prefork"), task.app, *options]


def balanced(by: str) -> Server:
    """prefork, its master accepting."""
    return Server(f"prefork {by}", "prefork", lambda task: [*prefork(task), "--balance", by], balances=True)


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


def fastpysgi(task: Task) -> list[str]:
    """Through its API: its own program has no option for workers."""
    program = str(PROGRAMS / "run_fastpysgi.py")
    return [str(task.bin / "python"), program, task.app, str(task.port), str(task.workers)]


def pyuwsgi(task: Task) -> list[str]:
    """As its documentation has it for a server without a web server in front: one connection per request."""
    module, _, name = task.app.partition(":")
    options = ["--http-socket", f"127.0.0.1:{task.port}", "--processes", str(task.workers), "--master"]
    usual = ["--die-on-term", "--need-app", "--single-interpreter", "--enable-threads", "--disable-logging"]
    return [str(task.bin / "pyuwsgi"), *options, *usual, "--module", module, "--callable", name]


ASGI = {
    server.name: server
    for server in (
        Server("prefork", "prefork", prefork),
        Server("uvicorn", "uvicorn", uvicorn),
        Server("granian", "granian", granian("asgi")),
        Server("fastpysgi", "fastpysgi", fastpysgi),
        Server("gunicorn", "gunicorn", gunicorn("-k", "asgi")),
        Server("hypercorn", "hypercorn", hypercorn),
    )
}

WSGI = {
    server.name: server
    for server in (
        Server("prefork", "prefork", prefork),
        Server("gunicorn-sync", "gunicorn", gunicorn("-k", "sync"), keeps_alive=False),
        Server("gunicorn-gthread", "gunicorn", gunicorn("-k", "gthread", "--threads", "4")),
        Server("granian", "granian", granian("wsgi")),
        Server("fastpysgi", "fastpysgi", fastpysgi),
        Server("pyuwsgi", "pyuwsgi", pyuwsgi, keeps_alive=False),
    )
}

PEERS = (
    "uvicorn[standard]",
    "gunicorn",
    "granian[uvloop]",
    "hypercorn[uvloop]",
    "fastpysgi",
    "pyuwsgi",
    "starlette",
    "flask",
)
"""What pip installs beside prefork, each by itself: one that cannot be had is left out."""

WELCOME = {"gunicorn": "fast"}
"""Package -> the extra with its C parser, installed if it can be had for the newest version."""
