"""`prefork save` and `prefork resurrect`: what runs in the background, written down, and started again after a boot.

Written are names, directories and the arguments of `prefork run`: never the environment, and nothing that was given by
`--env` or as a password.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Mapping

import click
import msgspec

from prefork.cli.launched import Record, list_records
from prefork.cli.launching import Launch
from prefork.cli.start import start_launches
from prefork.cli.state import find_state_directory
from prefork.control.client import find_services
from prefork.errors import EXIT_FAILED, EXIT_OK, ConfigError, PreforkError
from prefork.system import keeping

FILE = "saved.json"
VERSION = 1


class Saved(msgspec.Struct, frozen=True):
    """The whole file."""

    services: tuple[Record, ...]
    version: int = VERSION


def make_save_command() -> click.Command:
    """The command."""
    return click.Command(
        "save",
        callback=save,
        help="""Remember what runs in the background, for prefork resurrect.

Services in the foreground are named and not saved: their terminal, or systemd, brings them back. Never written: the
environment, and what was given with --env or as a password.
""",
        short_help="Remember what runs in the background.",
    )


def make_resurrect_command() -> click.Command:
    """The command."""
    return click.Command(
        "resurrect",
        callback=resurrect,
        help="Start what prefork save remembered and does not run, and wait until it serves.",
        short_help="Start what was saved and does not run.",
    )


def save() -> int:
    """Write the file; 1 if something that runs could not be saved."""
    path, records = find_saved(os.environ), list_records(os.environ)
    kept = [record for record in records if not record.secrets]
    for record in records:
        if record.secrets:
            flags = ", ".join(f"--{key}" for key in record.secrets)
            print(
                f"{record.name}: not saved, it was started with {flags}, whose values are never written; "
                "put them into an env-file",
                file=sys.stderr,
            )
    for service in find_services(os.environ):
        if service.status.pid not in {record.pid for record in records}:
            print(
                f"{service.name}: not saved, prefork start did not start it (pid {service.status.pid}); "
                "whoever did, a terminal or systemd, brings it back",
                file=sys.stderr,
            )
    if not records:
        raise PreforkError("nothing runs in the background", "prefork start starts something")
    if not kept:
        raise PreforkError("nothing that could be saved", f"{path} stays as it is")
    keeping.make_directory(posixpath.dirname(path), 0o700, "list of saved services")
    bare = tuple(msgspec.structs.replace(record, pid=0, born="") for record in kept)
    data = msgspec.json.format(msgspec.json.encode(Saved(bare)), indent=2) + b"\n"
    keeping.write_kept(path, data, "list of saved services")
    print(f"saved {', '.join(record.name for record in kept)} in {path}")
    return EXIT_FAILED if len(kept) < len(records) else EXIT_OK


def resurrect() -> int:
    """Start what does not run; the exit code is that of the first that failed."""
    services = read_saved(os.environ)
    launches = [
        Launch(
            name=record.name,
            directory=record.directory,
            arguments=record.arguments,
            log=record.log,
            chdir=record.chdir or record.directory,
            boot_timeout_s=record.boot_timeout_s,
        )
        for record in services
    ]
    failures = start_launches(launches, {record.name: record for record in services}, os.environ)
    return next(iter(failures.values()), EXIT_OK)


def read_saved(environ: Mapping[str, str]) -> tuple[Record, ...]:
    """What was saved. Raises `PreforkError` if nothing was, or the file is not what we wrote."""
    path = find_saved(environ)
    data = keeping.read_kept(path, "list of saved services")
    if data is None:
        raise PreforkError(f"nothing was saved: there is no {path}", "prefork save remembers what runs")
    try:
        saved = msgspec.json.decode(data, type=Saved)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} is not what prefork save writes: {error}", "start what you need, and prefork save again"
        ) from None
    if saved.version != VERSION:
        raise ConfigError(
            f"{path} was written by another version of prefork", "start what you need, and save again"
        )
    return saved.services


def find_saved(environ: Mapping[str, str]) -> str:
    """Where it is written."""
    return posixpath.join(find_state_directory(environ), FILE)
