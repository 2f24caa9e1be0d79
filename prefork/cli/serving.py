"""From what the program was started with to a master that serves: what every way to start a service ends in."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from prefork.cli.reading import Reread, Start, read_configuration

if TYPE_CHECKING:
    from prefork.cli.readiness import Starter
    from prefork.system.spawning import Spawned


def serve(start: Start, head_start: Spawned | None = None, starter: Starter | None = None) -> int:
    """Read the configuration, say what the user should know of it, and run the master; the exit code is its.

    `starter` is who waits for a background master.
    """
    if starter is not None:
        start = start.in_background()
    resolved = read_configuration(start)
    if resolved.config.log_format != "json":  # there, every line is a record
        for note in resolved.notes:
            print(f"prefork: {note}", file=sys.stderr)
    from prefork.master.running import run_master  # noqa: PLC0415  # only now it is sure to be needed

    gc.enable()
    on_serving = None if starter is None else starter.tell_serving
    reread = Reread(start.narrow(resolved.table))
    return run_master(resolved.config, reread, head_start, on_serving)
