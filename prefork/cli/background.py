"""The door of a background master, which `prefork start` execs: `prefork run`, with somebody who waits for word."""

from __future__ import annotations

import sys

from prefork.cli.main import main as run_program
from prefork.cli.readiness import Starter


def main() -> int:
    """argv: the descriptor of whoever waits, and the arguments of `prefork run`."""
    starter = Starter(int(sys.argv[1]))
    return run_program(["run", *sys.argv[2:]], starter)
