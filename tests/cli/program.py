"""Run the real program for one test, in a directory and an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

DEADLINE_S = 20


class Ended(NamedTuple):
    """How a run ended."""

    code: int
    stdout: str
    stderr: str


def clean_environ(**variables: str) -> dict[str, str]:
    """The test's own environment without anything that configures prefork or colours."""
    ours = ("PREFORK_", "LISTEN_")
    others = {
        "PORT",
        "WEB_CONCURRENCY",
        "FORWARDED_ALLOW_IPS",
        "GUNICORN_CMD_ARGS",
        "NO_COLOR",
        "FORCE_COLOR",
        "PWD",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours) and k not in others}
    return {**kept, **variables}


def run_program(*arguments: str | bytes, cwd: Path, env: dict[str, str] | None = None) -> Ended:
    """`prefork ARGUMENTS`, until it ends."""
    ended = subprocess.run(
        [sys.executable, "-m", "prefork", *arguments],
        cwd=cwd,
        env=clean_environ(**(env or {})),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)
