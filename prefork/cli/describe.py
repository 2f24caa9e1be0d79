"""`prefork describe NAME`: everything that a service tells of itself."""

from __future__ import annotations

import click

from prefork.cli.asking import WITHOUT_NAME, NameArgument, make_json_option, print_json
from prefork.cli.ls import describe
from prefork.cli.picking import pick_service
from prefork.cli.sheet import write_details, write_sheet
from prefork.cli.tables import paint
from prefork.system.usage import read_family


def make_describe_command() -> click.Command:
    """The command."""
    return click.Command(
        "describe",
        callback=describe_service,
        params=[NameArgument(many=False), make_json_option()],
        help="Show everything about a service: workers, restarts, reloads, listeners, logs, where it was set up.",
        epilog=WITHOUT_NAME,
        short_help="Show everything about a service.",
    )


def describe_service(*, name: str | None, as_json: bool) -> int:
    """Print the sheet and the details between its head and its workers."""
    service = pick_service(name)
    if as_json:
        print_json(describe(service))
        return 0
    head, _, workers = "\n".join(write_sheet(service, read_family(service.status.pid))).partition("\n\n")
    for line in (*head.split("\n"), *write_details(service), "", *workers.split("\n")):
        print(paint(line))
    return 0
