"""The child of `prefork check`: import the app as a zygote would, and write down what came of it.

Reads the configuration as JSON from standard input and writes one `Report` to the descriptor named by its argument;
standard output and error stay the app's own.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import msgspec

from prefork.config.model import Config
from prefork.errors import AppError


class Report(msgspec.Struct, frozen=True):
    """What importing the app found: an interface and a file, or an error."""

    interface: str = ""
    file: str = ""
    error: str = ""
    hints: tuple[str, ...] = ()
    traceback: str = ""


def main() -> NoReturn:
    """Import, report, and leave at once: an app's threads must not keep the child alive."""
    report_fd = int(sys.argv[1])
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=Config)
    sys.argv[1:] = []
    report = import_app(config)
    with open(report_fd, "wb") as file:
        file.write(msgspec.json.encode(report))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def import_app(config: Config) -> Report:
    """Import the app in its directory and environment. Whatever `SystemExit` it raises leaves, as it would at boot."""
    from prefork.serve.app import load_app  # noqa: PLC0415  # it brings asyncio, which this floor must not import

    os.environ.update(config.env)
    os.chdir(config.chdir)
    if config.umask is not None:
        os.umask(config.umask)
    try:
        app = load_app(config.app, factory=config.factory, interface=config.interface, app_dir=config.app_dir)
    except AppError as error:
        return Report(error=error.message, hints=error.hints, traceback=error.traceback)
    return Report(interface=app.interface, file=app.file or app.where)
