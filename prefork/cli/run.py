"""`prefork run APP`: resolve the configuration, and become the master."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from prefork.cli.parameters import ServiceCommand, pick_given
from prefork.cli.reading import Start, make_reread, read_configuration, start_from_flags
from prefork.errors import PreforkError

if TYPE_CHECKING:
    from prefork.cli.readiness import Serving
    from prefork.master.loop import Master
    from prefork.system.spawning import Spawned


def make_run_command() -> click.Command:
    """The command."""
    # For `prefork start`: a descriptor on which to say that we serve, or why not.
    ready_fd = click.Option(["--ready-fd"], type=int, hidden=True)
    return ServiceCommand(
        "run",
        extra=[ready_fd],
        callback=run,
        help="Serve APP in the foreground: one master, and workers that share its listeners.",
        short_help="Serve an app (the word run may be left out).",
    )


@click.pass_obj
def run(head_start: Spawned | None, /, *, app: str | None, ready_fd: int | None, **parameters: object) -> int:
    """Serve until stopped; the exit code is the master's."""
    if ready_fd is None:
        return serve(start_from_flags(app, pick_given(parameters)), head_start)
    from prefork.cli.readiness import Starter  # noqa: PLC0415  # only in the background

    starter = Starter(ready_fd)
    try:
        start = start_from_flags(app, pick_given(parameters)).in_background()
        return serve(start, head_start, on_serving=lambda master: starter.tell(describe_serving(master)))
    except PreforkError as error:
        starter.tell_error(error)
        raise


def serve(
    start: Start, head_start: Spawned | None = None, on_serving: Callable[[Master], None] | None = None
) -> int:
    """Read the configuration, say what the user should know of it, and run the master."""
    resolved = read_configuration(start)
    if resolved.config.log_format != "json":  # there, every line is a record
        for note in resolved.notes:
            print(f"prefork: {note}", file=sys.stderr)
    from prefork.master.running import run_master  # noqa: PLC0415  # only now it is sure to be needed

    gc.enable()
    reread = make_reread(start.narrow(resolved.table))
    return run_master(resolved.config, reread, head_start, on_serving)


def describe_serving(master: Master) -> Serving:
    """What whoever started us shows."""
    from prefork.cli.readiness import Serving  # noqa: PLC0415  # loaded already

    return Serving(
        addresses=tuple(listener.name() for listener in master.listeners),
        workers=master.config.workers,
        interface=master.app.interface or "",
    )
