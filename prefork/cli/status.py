"""`prefork status [NAME]`: one service on a page, and whether it is well as the exit code."""

from __future__ import annotations

import select
import sys

import click

from prefork.cli.asking import WITHOUT_NAME, NameArgument, make_json_option, print_json
from prefork.cli.ls import describe
from prefork.cli.picking import pick_service
from prefork.cli.sheet import write_sheet
from prefork.cli.tables import paint
from prefork.control.client import Service, read_status
from prefork.control.status import ServiceStatus, judge_health
from prefork.system.usage import read_family

EVERY_S = 1.0
CLEAR = "\x1b[H\x1b[2J"


def make_status_command() -> click.Command:
    """The command."""
    return click.Command(
        "status",
        callback=show_status,
        params=[
            NameArgument(many=False),
            click.Option(
                ["--watch", "is_watching"], is_flag=True, help="Look again every second, until Ctrl-C."
            ),
            make_json_option(),
        ],
        help="Show a service and its workers. Exits with 0 if it is well, 1 if it is degraded, 3 if it does not run.",
        epilog=WITHOUT_NAME,
        short_help="Show a service; its exit code says whether it is well.",
    )


def show_status(*, name: str | None, is_watching: bool, as_json: bool) -> int:
    """Print it once or, watching, until the service is gone."""
    service, before = pick_service(name), None
    _show(service, before, as_json=as_json, clear=is_watching)
    while is_watching:
        select.select([], [], [], EVERY_S)
        before, service = service.status, Service(service.path, read_status(service.path))
        _show(service, before, as_json=as_json, clear=True)
    return judge_health(service.status)


def _show(service: Service, before: ServiceStatus | None, *, as_json: bool, clear: bool) -> None:
    if as_json:
        print_json(describe(service))
        return
    text = "\n".join(map(paint, write_sheet(service, read_family(service.status.pid), before)))
    sys.stdout.write((CLEAR if clear and sys.stdout.isatty() else "") + text + "\n")
    sys.stdout.flush()
