"""`prefork check [APP]`: would it start? Reads the configuration, then imports the app in a child process.

The app is never imported here: it may hang, exit, start threads or change the process. Nothing is bound and nothing is
served, so it may be run beside the live service, before a reload. Of several apps in a file it checks all.
"""

from __future__ import annotations

import os
import posixpath
import sys

import click
import msgspec

from prefork.cli.app_import import Report
from prefork.cli.parameters import ServiceCommand, pick_given
from prefork.cli.reading import read_configuration, read_tables, split_start, start_from_flags
from prefork.config.addresses import parse_address
from prefork.config.balance import SHARED, STRATEGIES
from prefork.config.kinds import show_duration
from prefork.config.model import Config
from prefork.config.tables import check_tables
from prefork.errors import AppError
from prefork.system.certificates import find_trouble, read_credentials
from prefork.system.writable import check_file, find_bind_trouble

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
    start = start_from_flags(app, pick_given(parameters))
    check_tables(read_tables(start))
    asked = [read_configuration(each) for each in split_start(start)]
    for note in (note for resolved in asked for note in resolved.notes):
        print(f"note: {note}")
    for resolved in asked:
        _check_one(resolved.config)
    if len(asked) > 1:
        _check_together([resolved.config for resolved in asked])
    return 0


def _check_one(config: Config) -> None:
    said = f"configuration ok: {config.name}, {', '.join(config.bind)}, workers {config.workers}"
    print(said, flush=True)  # before what is wrong, also in a file
    _check_certificates(config)
    for what, path in (
        ("log file", config.log_file),
        ("access log", config.access_log),
        ("pidfile", config.pid),
    ):
        if path not in {None, "-"}:
            check_file(what, str(path))
    if config.balance not in {SHARED, *STRATEGIES}:
        from prefork.master.choosing import check_strategy  # noqa: PLC0415  # calls code of the user's, as it will then

        check_strategy(config)
        print(f"strategy ok: {config.balance}")
    report = _check_app(config)
    print(f"app ok: {config.app} is {report.interface.upper()} ({report.file})")
    for text in config.bind:
        if (trouble := find_bind_trouble(parse_address(text))) is not None:
            print(f"warning: {trouble.message}")


def _check_together(configs: list[Config]) -> None:
    """Say which apps of one file cannot run beside each other."""
    for what, taken in (
        ("name", [(config.name, config.name) for config in configs]),
        (
            "address",
            [(each, config.name) for config in configs for each in config.bind if not each.endswith(":0")],
        ),
        ("pidfile", [(config.pid, config.name) for config in configs if config.pid]),
    ):
        seen: dict[str, str] = {}
        for value, name in taken:
            if value in seen:
                print(f"warning: {seen[value]} and {name} have one {what}, {value}: only one of them can run")
            seen.setdefault(value, name)


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
