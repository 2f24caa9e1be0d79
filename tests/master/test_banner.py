"""What a person at a terminal sees, and nobody else."""

from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace
from typing import cast

import pytest

import prefork
from prefork.config.model import Config
from prefork.ipc.messages import Imported
from prefork.master.banner import show_banner
from prefork.master.loop import Master

PRELOADED = Imported("shop.web:app", "asgi", preloaded=True, why="", import_ms=5)
UNSAFE = Imported("shop:serve", "stream", preloaded=False, why="the import left thread exporter", import_ms=5)
HOSTILE = Imported("a:b\x1b[2J", "wsgi", preloaded=False, why="thread x\n\n\n\r\x1b]0;pwned\x07", import_ms=5)


class FakeListener:
    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


def make_master(app: Imported, *names: str) -> Master:
    """Only what a banner looks at."""
    config = Config(app="shop.web:app", name="shop", workers=4, workers_why="max: 4 CPUs")
    listeners = [FakeListener(name) for name in names]
    return cast("Master", SimpleNamespace(config=config, app=app, listeners=listeners))


def show_on_terminal(monkeypatch: pytest.MonkeyPatch, master: Master) -> list[str]:
    outside, inside = os.openpty()
    with os.fdopen(inside, "w") as stderr, os.fdopen(outside, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", stderr)
        show_banner(master)
        stderr.flush()
        shown = screen.read(65536).decode()
    return shown.replace("\r\n", "\n").split("\n")[:-1]


def test_a_terminal_sees_six_lines_with_where_what_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.getpid()
    assert show_on_terminal(monkeypatch, make_master(PRELOADED, "127.0.0.1:8000", "unix:/run/shop.sock")) == [
        "",
        f"  prefork {prefork.__version__} serves shop at http://127.0.0.1:8000, unix:/run/shop.sock",
        "  app      shop.web:app, ASGI, preloaded",
        "  workers  4 (max: 4 CPUs)",
        f"  control  reload: kill -HUP {pid} · scale: kill -TTIN|-TTOU {pid} · stop: Ctrl-C",
        "",
    ]


def test_an_app_that_each_worker_imports_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show_on_terminal(monkeypatch, make_master(UNSAFE, "[::1]:80"))
    assert lines[1].endswith(" serves shop at http://[::1]:80")
    assert lines[2] == (
        "  app      shop:serve, stream handler, imported by each worker: the import left thread exporter"
    )


def test_no_app_makes_it_longer_or_drives_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show_on_terminal(monkeypatch, make_master(HOSTILE, "127.0.0.1:8000"))
    assert len(lines) == 6
    assert all(line.isprintable() for line in lines)


def test_a_file_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    show_banner(make_master(PRELOADED, "127.0.0.1:8000"))
    assert stderr.getvalue() == ""


def test_no_standard_error_at_all_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    show_banner(make_master(PRELOADED, "127.0.0.1:8000"))
