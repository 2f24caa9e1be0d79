"""`prefork.run(app, …)`: the command line's options as keywords, from a Python program."""

from __future__ import annotations

from collections.abc import Mapping

from prefork.cli.reading import start_from_keywords
from prefork.cli.serving import serve


def run_embedded(app: str | None, options: Mapping[str, object]) -> int:
    """Serve until stopped and return the exit code. Raises `PreforkError` where the command would print it."""
    return serve(start_from_keywords(app, options))
