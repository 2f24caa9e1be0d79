"""How an error looks: `error: what happened`, then what to do next, four lines at most, on standard error."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

from prefork.errors import PreforkError

_RED_BOLD = "\x1b[1;31m"
_PLAIN = "\x1b[0m"


def print_error(error: PreforkError, stream: TextIO | None) -> None:
    """Print an error, after the app's own traceback if it has one. Never raises: a closed stderr loses the text.

    `stream` is None where Python found its descriptor closed at the start.
    """
    if stream is None:
        return
    lines = [flatten(error.message), *(f"  {flatten(hint)}" for hint in error.hints)]
    found: str = getattr(error, "traceback", "")  # the app's own, of the errors that have one
    traceback = found.rstrip("\n") + "\n" if found else ""
    try:
        label = f"{_RED_BOLD}error:{_PLAIN}" if wants_color(stream, os.environ) else "error:"
        stream.write(f"{traceback}{label} " + "\n".join(lines) + "\n")
        stream.flush()
    except (OSError, ValueError):  # ValueError: the stream object itself is closed
        return


def flatten(text: str) -> str:
    """One line, whatever was in it."""
    return " ".join(text.split("\n")).replace("\r", " ").rstrip()


def wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """NO_COLOR says no, FORCE_COLOR says yes, else a terminal decides: Python's own order (https://no-color.org)."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()
