"""`prefork check [APP]`: would it start? Reads the configuration, then imports the app in a child process.

The app is never imported here: it may hang, exit, start threads or change the process. Nothing is bound and nothing is
served, so it may be run beside the live service, before a reload.
"""

from __future__ import annotations

import os
import posixpath
import sys

import click
import msgspec

from prefork.cli.app_import import Report
from prefork.cli.parameters import ServiceCommand, pick_given
from prefork.cli.reading import read_configuration, start_from_flags
from prefork.config.balance import SHARED, STRATEGIES
from prefork.config.kinds import show_duration
from prefork.config.model import Config
from prefork.errors import AppError
from prefork.system.certificates import find_trouble, read_credentials

_CHILD = """
import sys
sys.path[:] = sys.argv.pop().split({separator!r})
from prefork.cli.app_import import main
main()
"""


def make_check_command() -> click.Command:
    """The command."""
    return ServiceCommand(
        "check",
        callback=check,
        help="Check the configuration and import APP, without serving. Takes the options of run.",
        short_help="Would it start? Reads the configuration, imports the app.",
    )


def check(*, app: str | None, **parameters: object) -> int:
    """Check everything that can be checked without serving. Raises `PreforkError` for the first thing wrong."""
    resolved = read_configuration(start_from_flags(app, pick_given(parameters)))
    config = resolved.config
    for note in resolved.notes:
        print(f"note: {note}")
    print(f"configuration ok: {config.name}, {', '.join(config.bind)}, workers {config.workers}")
    _check_certificates(config)
    if config.balance not in {SHARED, *STRATEGIES}:
        from prefork.master.choosing import check_strategy  # noqa: PLC0415  # calls code of the user's, as it will then

        check_strategy(config)
        print(f"strategy ok: {config.balance}")
    report = _check_app(config)
    print(f"app ok: {config.app} is {report.interface.upper()} ({report.file})")
    return 0


def _check_certificates(config: Config) -> None:
    credentials = read_credentials(config)
    if credentials is not None:
        trouble = find_trouble(credentials)
        print(f"note: the certificate is {trouble}" if trouble else f"certificate ok: {config.certfile}")


def _check_app(config: Config) -> Report:
    """Import the app in a child and return what it found. Raises `AppError`, also for a child that hangs or dies."""
    import subprocess  # noqa: PLC0415  # not in the path of `prefork run`
    import tempfile  # noqa: PLC0415

    # A file, not a pipe: a process the app started may hold a pipe open long after the child is gone.
    with tempfile.TemporaryFile() as report_file:
        fd = report_file.fileno()
        # The same prefork is found from wherever the child works, and nothing of the app's directory before it.
        path = os.pathsep.join(posixpath.abspath(entry) for entry in sys.path)
        command = [sys.executable, "-c", _CHILD.format(separator=os.pathsep), str(fd), path]
        try:
            child = subprocess.run(  # noqa: S603  # our own interpreter, our own words
                command,
                input=msgspec.json.encode(config),
                pass_fds=(fd,),
                timeout=config.boot_timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AppError(
                f"importing {config.app} took longer than {show_duration(config.boot_timeout_s)}",
                "allow it more with --boot-timeout",
            ) from None
        report_file.seek(0)
        data = report_file.read()
    if not data:
        ended = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        raise AppError(
            f"importing {config.app} ended the process with {ended}", "it must not exit when imported"
        )
    report = msgspec.json.decode(data, type=Report)
    if report.error:
        raise AppError(report.error, *report.hints, traceback=report.traceback)
    return report
