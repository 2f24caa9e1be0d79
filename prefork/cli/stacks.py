"""`prefork stacks NAME [--worker N]`: where each thread of each worker is now, of a stuck one too."""

from __future__ import annotations

import click

from prefork.cli.asking import WITHOUT_NAME, NameArgument, make_json_option, make_worker_option, print_json
from prefork.cli.picking import pick_service
from prefork.control.client import Talk
from prefork.control.requests import AskStacks, Stacks
from prefork.system.log_lines import escape


def make_stacks_command() -> click.Command:
    """The command."""
    return click.Command(
        "stacks",
        callback=show_stacks,
        params=[
            NameArgument(many=False),
            make_worker_option(),
            make_json_option(),
        ],
        help="Show the Python stack of each thread of each worker, also of one that is stuck. Disturbs none.",
        epilog=WITHOUT_NAME,
        short_help="Show where each worker is in its code.",
    )


def show_stacks(*, name: str | None, worker: int | None, as_json: bool) -> int:
    """Print each worker's."""
    service = pick_service(name)
    with Talk(service.path) as talk:
        for answer in talk.ask(AskStacks(worker), silence_s=10.0):
            if not isinstance(answer, Stacks):
                continue
            if as_json:
                print_json(
                    {"slot": answer.slot, "pid": answer.pid, "state": answer.state, "text": answer.text}
                )
                continue
            print(f"worker {answer.slot}, pid {answer.pid}, {answer.state}")
            for line in answer.text.splitlines() or ["no stacks: it did not run to write them"]:
                print(f"  {escape(line)}")
    return 0
