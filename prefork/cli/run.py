"""`prefork run APP`: resolve the configuration, and become the master."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prefork.cli.parameters import ServiceCommand, pick_given
from prefork.cli.reading import start_from_flags
from prefork.cli.serving import serve

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
