"""`prefork logs [NAME …]`: the last lines of the log of one service or of several, and with -f those that come."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import click

from prefork.cli.asking import NameArgument, make_file_option
from prefork.cli.complaints import print_error
from prefork.cli.cutting import CONFIG_FLAG
from prefork.cli.log_entries import Entry, Wanted, find_moment, show, show_json
from prefork.cli.log_following import Follower
from prefork.cli.log_places import Place, explain_no_file, find_places
from prefork.cli.log_reading import read_last
from prefork.errors import EXIT_OK, NoPermissionError, PreforkError, UsageError

LOOK_EVERY_MS = 200
LINES = 20

HELP = """Show the last lines of the log, and with -f those that come.

\b
  prefork logs                      of all services that run, each line behind its service's name
  prefork logs shop -f              and wait for more; survives rotation
  prefork logs shop --worker 2      of the worker in slot 2, or with that pid
  prefork logs shop --err           warnings, errors, and what the app prints to standard error
  prefork logs --json | jq .        as objects, whatever the log's format

A traceback counts as one line with the line that it belongs to. Works when the service is down, too.
"""


def make_logs_command() -> click.Command:
    """The command."""
    return click.Command(
        "logs",
        callback=logs,
        help=HELP,
        short_help="Show or follow the log.",
        params=[
            NameArgument(many=True),
            click.Option(["-f", "--follow"], is_flag=True, help="Wait for more."),
            click.Option(
                ["-n", "--lines"],
                type=click.IntRange(0),
                default=LINES,
                metavar="N",
                help=f"How many lines. Default: {LINES}.",
            ),
            click.Option(["--worker"], type=click.IntRange(0), metavar="N", help="Only this slot or pid."),
            click.Option(["--err"], is_flag=True, help="Only warnings, errors and standard error."),
            click.Option(["--access"], is_flag=True, help="The access log instead."),
            click.Option(["--json", "as_json"], is_flag=True, help="One object a line."),
            make_file_option(),
        ],
    )


def logs(  # noqa: PLR0913  # one for each flag
    *,
    names: tuple[str, ...],
    follow: bool,
    lines: int,
    worker: int | None,
    err: bool,
    access: bool,
    as_json: bool,
    config: str | None,
) -> int:
    """Show them; 1 if there was nothing to show of a service that was asked for."""
    if access and err:
        raise UsageError("--access has no --err: every line there is of one request", "use one of them")

    def is_wanted(entry: Entry) -> bool:
        return (worker is None or entry.is_about(worker)) and (not err or entry.is_bad())

    places = find_places(names, {CONFIG_FLAG: config} if config else {})
    files, code = _find_files(places, access=access, may_come=follow)
    if files:
        _show(files, lines, is_wanted, make_teller(as_json=as_json, has_names=len(places) > 1), follow=follow)
    return code


Tell = Callable[[str, Entry], None]


def make_teller(*, as_json: bool, has_names: bool) -> Tell:
    """What prints an entry of the service of this name."""
    out = sys.stdout
    is_terminal = out.isatty()
    if hasattr(out, "reconfigure"):
        out.reconfigure(errors="backslashreplace")

    def tell(name: str, entry: Entry) -> None:
        if as_json:
            out.write(show_json(entry, name))
        else:
            out.write(show(entry, name if has_names else "", is_terminal=is_terminal))

    return tell


def _find_files(
    places: Sequence[Place], *, access: bool, may_come: bool
) -> tuple[list[tuple[str, str]], int]:
    """(name, path) of each service that has a file; complain of the others."""
    found, code = [], EXIT_OK
    for place in places:
        path = place.access_log if access else place.log
        error = _find_trouble(place, path, access=access, may_come=may_come)
        if error is None and path is not None:
            found.append((place.name, path))
        elif error is not None:
            print_error(error, sys.stderr)
            code = code or error.exit_code
    return found, code


def _find_trouble(place: Place, path: str | None, *, access: bool, may_come: bool) -> PreforkError | None:
    """Why there is nothing to read. Says so if there will be."""
    if path is None:
        no_access_log = (f"{place.name} has no access log in a file", "--access-log FILE makes one")
        return PreforkError(*(no_access_log if access else explain_no_file(place)))
    try:
        with open(path, "rb"):  # noqa: PTH123  # pathlib is not worth importing for this
            return None
    except FileNotFoundError:
        if not may_come:
            return PreforkError(f"{place.name} has not logged anything: there is no {path}")
        print(f"prefork: {path} is not there yet", file=sys.stderr)
        return None
    except PermissionError:
        return NoPermissionError(f"cannot read {path}: permission denied", "ask as the service's user")
    except OSError as error:
        return PreforkError(f"cannot read {path}: {(error.strerror or str(error)).lower()}")


def _show(
    files: Sequence[tuple[str, str]], count: int, is_wanted: Wanted, tell: Tell, *, follow: bool
) -> None:
    followers = [(name, Follower(path)) for name, path in files] if follow else []
    ends: list[int | None] = [follower.end for _, follower in followers] or [None for _ in files]
    last: list[tuple[str, Entry]] = []
    for (name, path), end in zip(files, ends, strict=True):
        with suppress(FileNotFoundError):
            last += [(name, entry) for entry in read_last(path, count, is_wanted, end)]
    if len(files) > 1:
        last = sorted(last, key=lambda each: find_moment(each[1]))
    for name, entry in last[len(last) - min(count, len(last)) :]:
        tell(name, entry)
    sys.stdout.flush()
    while followers:
        for name, follower in followers:
            for entry in follower.look():
                if is_wanted(entry):
                    tell(name, entry)
        sys.stdout.flush()
        if _wait_or_see_reader_gone():
            return


def _wait_or_see_reader_gone() -> bool:
    """Wait for the next look. True: nobody reads what we print any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are told of always; see poll(2)
    return bool(poll.poll(LOOK_EVERY_MS))
