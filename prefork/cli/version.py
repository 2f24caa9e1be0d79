"""`prefork version`: what is installed here, for a bug report."""

from __future__ import annotations

import sys

import click

import prefork

SHOWN = ("click", "httptools", "msgspec", "psutil", "setproctitle", "uvloop", "websockets")


def make_version_command() -> click.Command:
    """The command."""
    return click.Command(
        "version",
        callback=print_versions,
        help="Show the versions of prefork, Python and what prefork stands on.",
        short_help="Show versions, for a bug report.",
    )


def print_versions() -> int:
    """One line each: name, version."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  # slow, and for people

    def find(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    python = ".".join(map(str, sys.version_info[:3]))
    rows = [("prefork", prefork.__version__), (sys.implementation.name, f"{python} on {sys.platform}")]
    for name, shown in rows + [(name, find(name)) for name in SHOWN]:
        print(f"{name:<14}{shown}")
    return 0
