"""What the commands about running services have in common: NAME, --json, and one service after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
import msgspec
from click.shell_completion import CompletionItem

from prefork.cli.complaints import print_error
from prefork.cli.cutting import CONFIG_FLAG
from prefork.control.client import Service
from prefork.errors import EXIT_OK, PreforkError

WITHOUT_NAME = (
    "Without NAME: the only service that runs, else the one of ./prefork.toml or of this directory."
)
"""The end of their --help."""


class NameArgument(click.Argument):
    """NAME, which the shell completes from the services that run."""

    def __init__(self, *, many: bool, required: bool = False) -> None:
        word = "names" if many else "name"
        super().__init__(
            [word],
            metavar="[NAME|GLOB|all]…" if many else "[NAME]",
            nargs=-1 if many else 1,
            required=required,
        )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002  # click's
        """Their names that begin so."""
        return [CompletionItem(name) for name in list_running_names() if name.startswith(incomplete)]


def list_running_names() -> list[str]:
    """Each once."""
    import os  # noqa: PLC0415  # only a shell that completes gets here

    from prefork.control.client import find_services  # noqa: PLC0415

    return list(dict.fromkeys(service.name for service in find_services(os.environ)))


def make_json_option() -> click.Option:
    """`--json`."""
    return click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, one value a line.")


def make_worker_option() -> click.Option:
    """`--worker`."""
    return click.Option(
        ["--worker"],
        type=click.IntRange(0),
        metavar="N",
        help="Only the worker in this slot, 0 for the first.",
    )


def make_file_option() -> click.Option:
    """`-c`, for commands that also know services which do not run."""
    return click.Option(["-c", f"--{CONFIG_FLAG}"], metavar="FILE", help="The TOML file that has the names.")


def print_json(value: Any) -> None:
    """On one line, at once: whoever reads it may wait for it."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def say(service: Service, message: str, facts: dict[str, Any], *, as_json: bool) -> None:
    """What came of it."""
    if as_json:
        print_json({"name": service.name, "message": message, **facts})
    else:
        print(f"{service.name}: {message}", flush=True)


def ask_each(services: Sequence[Service], act: Callable[[Service], None]) -> int:
    """Do it for each; one that fails does not spare the others. Raises what failed if there is only one."""
    if len(services) == 1:
        act(services[0])
        return EXIT_OK
    code = EXIT_OK
    for service in services:
        try:
            act(service)
        except PreforkError as error:
            error.message = f"{service.name}: {error.message}"
            sys.stdout.flush()
            print_error(error, sys.stderr)
            code = code or error.exit_code
    return code
