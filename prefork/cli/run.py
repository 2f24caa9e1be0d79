"""`prefork run APP`: resolve the configuration, and become the master."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import click

from prefork.cli.parameters import ServiceCommand, pick_given
from prefork.cli.reading import Start, make_reread, read_configuration, start_from_flags

if TYPE_CHECKING:
    from prefork.system.spawning import Spawned


def make_run_command() -> click.Command:
    """The command."""
    return ServiceCommand(
        "run",
        callback=run,
        help="Serve APP in the foreground: one master, and workers that share its listeners.",
        short_help="Serve an app (the word run may be left out).",
    )


@click.pass_obj
def run(head_start: Spawned | None, /, **parameters: object) -> int:
    """Serve until stopped; the exit code is the master's."""
    app = parameters.pop("app")
    return serve(start_from_flags(app if isinstance(app, str) else None, pick_given(parameters)), head_start)


def serve(start: Start, head_start: Spawned | None = None) -> int:
    """Read the configuration, say what the user should know of it, and run the master."""
    resolved = read_configuration(start)
    if resolved.config.log_format != "json":  # there, every line is a record
        for note in resolved.notes:
            print(f"prefork: {note}", file=sys.stderr)
    from prefork.master.running import run_master  # noqa: PLC0415  # only now it is sure to be needed

    gc.enable()
    return run_master(resolved.config, make_reread(start.narrow(resolved.table)), head_start)
