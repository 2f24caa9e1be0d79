"""`prefork start [NAME|GLOB …]`: background masters for the apps of the configuration, or for one APP."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from prefork.cli.app_words import pick_apps
from prefork.cli.arguments import find_secrets, write_arguments
from prefork.cli.complaints import flatten, print_error
from prefork.cli.cutting import PROFILE_FLAG
from prefork.cli.launched import Record, write_record
from prefork.cli.launching import Attempt, Launch, launch_all, wait_for_outcomes
from prefork.cli.parameters import ServiceCommand, pick_given
from prefork.cli.readiness import Failed, Serving
from prefork.cli.reading import Start, read_configuration, read_tables, start_from_flags
from prefork.cli.running import find_running
from prefork.config.addresses import parse_address
from prefork.config.tables import list_apps
from prefork.errors import EXIT_OK, AppError, ConfigError, PreforkError
from prefork.system import clock

HELP = """Start apps in the background, and wait until each serves or has failed.

\b
  prefork start                     every [app.NAME] of prefork.toml, or the one app that it describes
  prefork start shop 'api-*'        those of these names
  prefork start main:app -i max -n shop
\b
Each gets a master of its own, which lives on when the terminal is closed. What it and the app print goes to
its log file. An app that runs already is left alone.
"""


def make_start_command() -> click.Command:
    """The command."""
    return ServiceCommand(
        "start",
        argument=click.Argument(["apps"], nargs=-1, metavar="[NAME|GLOB|all …]|[APP]"),
        callback=start,
        help=HELP,
        short_help="Start apps in the background.",
    )


def start(*, apps: tuple[str, ...], **parameters: object) -> int:
    """Start what is not running; the exit code is that of the first that failed."""
    given = pick_given(parameters)
    begun = list(_list_starts(apps, given))
    failures: dict[str, int] = {}
    launches, records = [], {}
    for word, each in begun:
        try:
            launch, record = prepare(each, word, given)
        except PreforkError as error:
            _complain(word if len(begun) > 1 else "", error)
            failures[word or "-"] = error.exit_code
            continue
        if launch.name in records:
            raise ConfigError(
                f"two of these apps are called {launch.name}", "give each a name of its own, or start one"
            )
        launches.append(launch)
        records[launch.name] = record
    failures |= start_launches(launches, records, begun[0][1].environ if begun else os.environ)
    return next(iter(failures.values()), EXIT_OK)


def prepare(start: Start, word: str, given: Mapping[str, Any]) -> tuple[Launch, Record]:
    """What to start, and what is remembered of it. Raises `PreforkError` for a configuration that is wrong."""
    resolved = read_configuration(start)
    config = resolved.config
    for note in resolved.notes:
        print(f"prefork: {note}", file=sys.stderr)
    assert config.log_file is not None  # noqa: S101  # in the background there always is one
    flags = dict(given)
    if start.config_file is not None:
        flags["config"] = start.config_file
    if start.profile is not None:
        flags[PROFILE_FLAG] = start.profile
    fds = [parse_address(text) for text in config.bind if text.startswith("fd:")]
    launch = Launch(
        name=config.name,
        directory=start.directory,
        arguments=write_arguments(word, flags),
        log=config.log_file,
        chdir=config.chdir,
        boot_timeout_s=config.boot_timeout_s,
        keep_fds=tuple(address.fd for address in fds),
    )
    return launch, Record(
        name=config.name,
        directory=start.directory,
        arguments=() if find_secrets(flags) else launch.arguments,
        secrets=find_secrets(flags),
        log=config.log_file,
        chdir=config.chdir,
        boot_timeout_s=config.boot_timeout_s,
    )


def start_launches(
    launches: list[Launch], records: Mapping[str, Record], environ: Mapping[str, str]
) -> dict[str, int]:
    """Start those that do not run, wait, tell. Returns the exit codes of those that failed."""
    codes: dict[str, int] = {}
    wanted = [launch for launch in launches if _is_wanted(launch, environ, codes)]

    def tell_outcome(attempt: Attempt) -> None:
        name, outcome = attempt.launch.name, attempt.outcome
        if isinstance(outcome, Failed):
            codes[name] = outcome.exit_code
            _complain(name, explain_failure(attempt, outcome))
        elif isinstance(outcome, Serving):
            write_record(environ, records[name], attempt.pid)
            print(_describe(attempt, outcome), flush=True)

    def tell_patience(attempt: Attempt) -> None:
        seconds = clock.monotonic() - attempt.started_at
        print(
            f"{attempt.launch.name}: pid {attempt.pid} is starting, for {seconds:.0f} s now", file=sys.stderr
        )

    try:
        attempts = launch_all(wanted, environ)
        wait_for_outcomes(attempts, tell_outcome=tell_outcome, tell_patience=tell_patience)
    except KeyboardInterrupt:
        print("not waited for: what was started goes on in the background", file=sys.stderr)
        raise
    return {launch.name: codes[launch.name] for launch in launches if launch.name in codes}


def explain_failure(attempt: Attempt, failed: Failed) -> AppError:
    """What it said itself, and where there is more, if it came so far."""
    where = f"{attempt.launch.log} has more"
    is_said = where in failed.hints or not attempt.pid
    hints = failed.hints if is_said else (*failed.hints, where)
    return AppError(failed.message, *hints, traceback=failed.traceback)


def _is_wanted(launch: Launch, environ: Mapping[str, str], codes: dict[str, int]) -> bool:
    """Is it neither running nor in the way of another? Says so, and notes the exit code of the latter."""
    found = find_running(environ, launch.name, launch.chdir)
    if found is None:
        return True
    if found.is_in(launch.chdir):
        print(f"{launch.name}: runs already, pid {found.pid}")
        return False
    elsewhere = f"another {launch.name} runs in {found.chdir}, pid {found.pid}"
    if not found.shares_log:
        print(f"{launch.name}: {elsewhere}", file=sys.stderr)
        return True
    error = PreforkError(elsewhere, "give this one a name of its own: --name, or name = in its table")
    _complain(launch.name, error)
    codes[launch.name] = error.exit_code
    return False


def _list_starts(words: tuple[str, ...], given: Mapping[str, Any]) -> Iterator[tuple[str, Start]]:
    """Each app that is meant, with the word for it on `prefork run`'s command line."""
    flags = dict(given)
    here = start_from_flags(None, flags)
    names = list_apps(read_tables(here))
    picked = pick_apps(words, names)
    if not picked:
        yield "", here.in_background()
    for word in picked:
        yield word, start_from_flags(word, flags).in_background()


def _describe(attempt: Attempt, serving: Serving) -> str:
    seconds = clock.monotonic() - attempt.started_at
    where = ", ".join(name if name.startswith("unix:") else f"http://{name}" for name in serving.addresses)
    workers = "1 worker" if serving.workers == 1 else f"{serving.workers} workers"
    name, log = attempt.launch.name, attempt.launch.log
    return flatten(f"{name}: ready after {seconds:.1f} s, pid {attempt.pid}, {where}, {workers}, log {log}")


def _complain(word: str, error: PreforkError) -> None:
    message = f"{word}: {error.message}" if word else error.message
    traceback = error.traceback if isinstance(error, AppError) else ""
    print_error(AppError(message, *error.hints, traceback=traceback), sys.stderr)
