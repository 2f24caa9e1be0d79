"""`prefork restart [NAME]` is a reload; with `--worker N`, one worker is replaced by a successor of the same code."""

from __future__ import annotations

import click

from prefork.cli.asking import WITHOUT_NAME, NameArgument, ask_each, make_json_option, make_worker_option, say
from prefork.cli.picking import pick_service, pick_services
from prefork.cli.reload import make_wait_option, reload_one
from prefork.control.client import ask
from prefork.control.requests import AskRestart

SILENCE_S = 3600.0
"""The master gives up sooner, after its boot-timeout."""


def make_restart_command() -> click.Command:
    """The command."""
    return click.Command(
        "restart",
        callback=restart,
        params=[
            NameArgument(many=True),
            make_worker_option(),
            make_wait_option(),
            make_json_option(),
        ],
        help="""Replace every worker: the same as reload, so configuration and code are read anew, the master and its
listeners stay, and no request is lost. (stop and start again for a new master.)

With --worker N, only that one is replaced, by a successor from the code that runs: it is ready before the old one
drains. A slot that was given up after too many crashes is tried again.
""",
        epilog=WITHOUT_NAME,
        short_help="Replace the workers, or one of them.",
    )


def restart(*, names: tuple[str, ...], worker: int | None, wait: bool, as_json: bool) -> int:
    """One service after the other; one worker of one service."""
    if worker is None:
        return ask_each(pick_services(names), lambda service: reload_one(service, wait=wait, as_json=as_json))
    service = pick_service(names[0] if len(names) == 1 else None)
    done = ask(service.path, AskRestart(worker, wait=wait), silence_s=SILENCE_S)
    say(service, done.message, done.facts, as_json=as_json)
    return 0
