"""`prefork flush [NAME …]`: empty the logs. Whoever writes to them appends, and is not disturbed."""

from __future__ import annotations

import sys

import click

from prefork.cli.asking import NameArgument, make_file_option
from prefork.cli.complaints import print_error
from prefork.cli.cutting import CONFIG_FLAG
from prefork.cli.log_places import explain_no_file, find_places
from prefork.errors import EXIT_FAILED, EXIT_OK, PreforkError
from prefork.system import rotation

HELP = """Empty the logs, access logs with them, and remove those that were rotated. The service goes on writing.

\b
  prefork flush shop
  prefork flush all
"""


def make_flush_command() -> click.Command:
    """The command."""
    return click.Command(
        "flush",
        callback=flush,
        help=HELP,
        short_help="Empty the logs.",
        params=[
            NameArgument(many=True),
            make_file_option(),
        ],
    )


def flush(*, names: tuple[str, ...], config: str | None) -> int:
    """Empty them all; 1 if one could not be."""
    code = EXIT_OK
    for place in find_places(names, {CONFIG_FLAG: config} if config else {}):
        paths = [path for path in (place.log, place.access_log) if path is not None]
        if not paths:
            print_error(PreforkError(*explain_no_file(place)), sys.stderr)
            code = EXIT_FAILED
        for path in paths:
            try:
                print(f"{place.name}: emptied {path}, {rotation.empty(path):,} bytes")
            except FileNotFoundError:
                print(f"{place.name}: nothing in {path}")
            except OSError as error:
                print_error(
                    PreforkError(f"cannot empty {path}: {(error.strerror or str(error)).lower()}"), sys.stderr
                )
                code = EXIT_FAILED
    return code
