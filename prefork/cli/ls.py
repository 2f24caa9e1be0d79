"""`prefork ls`: every service that runs, one line each, as PM2's table has it."""

from __future__ import annotations

import os
from typing import Any

import click
import msgspec

from prefork.cli.asking import make_json_option, print_json
from prefork.cli.tables import show_rate, show_size, show_span, show_table
from prefork.control.client import Service, find_services
from prefork.control.status import show_state
from prefork.system.usage import Reading, add_up, read_family

HEAD = ("NAME", "STATE", "READY", "PID", "UP", "RST", "REQ/S", "NOW", "CPU", "MEM", "ADDRESS")
RIGHT = frozenset(HEAD) - {"NAME", "STATE", "ADDRESS"}


def make_ls_command() -> click.Command:
    """The command."""
    return click.Command(
        "ls",
        callback=list_services,
        params=[make_json_option()],
        help="""List the services that run.

\b
READY  workers that are ready, and how many there shall be
RST    workers that had to be replaced (restarts), reloads not counted
REQ/S  on average since the start; CPU too, 100% is one CPU
NOW    requests being answered now
MEM    of all its processes, shared pages counted once (PSS)
""",
        short_help="List the services that run.",
    )


def list_services(*, as_json: bool) -> int:
    """Print the table; nothing running is no failure."""
    services = find_services(os.environ)
    if as_json:
        print_json([describe(service) for service in services])
    elif not services:
        print("nothing is running        prefork APP serves one")
    else:
        show_table(
            HEAD,
            [make_row(service, add_up(read_family(service.status.pid).values())) for service in services],
            right=RIGHT,
        )
    return 0


def make_row(service: Service, cost: Reading) -> tuple[str, ...]:
    """The columns of `HEAD`."""
    status = service.status
    more = f" +{len(status.addresses) - 1}" if len(status.addresses) > 1 else ""
    return (
        status.name,
        show_state(status),
        f"{status.workers_ready}/{status.workers_wanted}",
        str(status.pid),
        show_span(status.uptime_s),
        str(sum(status.restarts.values())),
        show_rate(status.totals.requests / max(status.uptime_s, 1.0)),
        str(status.in_flight),
        f"{100 * cost.cpu_s / max(status.uptime_s, 1.0):.0f}%",
        show_size(cost.pss_bytes),
        "".join(status.addresses[:1]) + more,
    )


def describe(service: Service) -> dict[str, Any]:
    """The status with what its processes cost and where its socket is."""
    readings = read_family(service.status.pid)
    total = add_up(readings.values())
    return {
        **msgspec.to_builtins(service.status),
        "control": service.path,
        "pss_bytes": total.pss_bytes,
        "cpu_s": round(total.cpu_s, 2),
        "processes": {str(pid): reading._asdict() for pid, reading in readings.items()},
    }
