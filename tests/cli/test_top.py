"""What `prefork top` refuses, before it looks at anything."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from prefork.cli.main import main


def test_without_rich_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rich" else find_spec(name))

    assert main(["top"]) == 1

    assert capsys.readouterr().err == "error: prefork top needs rich: pip install 'prefork[top]'\n"


@pytest.mark.parametrize("at", ["pipe", "dumb"])
def test_without_a_terminal_it_says_what_there_is_instead(
    at: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: at != "pipe")
    monkeypatch.setenv("TERM", "dumb" if at == "dumb" else "xterm")

    assert main(["top"]) == 2

    error = capsys.readouterr().err
    assert "needs a terminal" in error
    assert "--once" in error
    assert "--json" in error


@pytest.mark.parametrize("interval", ["0", "-1s", "1 fortnight", "10ms"])
def test_an_interval_that_is_none_is_refused(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", f"--interval={interval}"]) == 2

    assert f"--interval {interval}" in capsys.readouterr().err


def test_nothing_but_a_drawing_needs_rich() -> None:
    code = (
        "import sys, prefork.cli.top; sys.exit(any(name.partition('.')[0] == 'rich' for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
