"""What a person at a terminal sees once the service is up: six lines at most, and none of them anywhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import prefork
from prefork.system import log_lines, logs, processes

if TYPE_CHECKING:
    from prefork.master.loop import Master


def show_banner(master: Master) -> None:
    """Print it to standard error, if that is a terminal."""
    if not logs.is_terminal():
        return
    # Escaped: names come from the app and must neither add lines nor drive the terminal.
    sys.stderr.write("\n".join(log_lines.escape(line) for line in _lines(master)) + "\n")


def _lines(master: Master) -> list[str]:
    config, app, pid = master.config, master.app, processes.get_pid()
    addresses = ", ".join(_clickable(listener.name()) for listener in master.listeners)
    kind = app.interface.upper() if app.interface in ("asgi", "wsgi") else f"{app.interface} handler"
    loaded = "preloaded" if app.preloaded else f"imported by each worker: {app.why}"
    why = f" ({config.workers_why})" if config.workers_why else ""
    return [
        "",
        f"  prefork {prefork.__version__} serves {config.name} at {addresses}",
        f"  app      {app.where}, {kind}, {loaded}",
        f"  workers  {config.workers}{why}",
        f"  control  reload: kill -HUP {pid} · scale: kill -TTIN|-TTOU {pid} · stop: Ctrl-C",
        "",
    ]


def _clickable(name: str) -> str:
    return name if name.startswith("unix:") else f"http://{name}"
