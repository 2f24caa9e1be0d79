"""`prefork init [KIND] [APP] [--from FILE]`: write a file to begin with. It never replaces one that is there.

Each kind is a row of KINDS: the file's name, and the function that makes its text of the app. They are imported when
they are asked for.
"""

from __future__ import annotations

import importlib
import os
import posixpath
from collections.abc import Callable
from typing import NamedTuple

import click

from prefork.cli.reading import find_directory, find_obvious_app
from prefork.config.nearest import find_nearest
from prefork.config.resolving import derive_name
from prefork.config.values import quote
from prefork.errors import ConfigError, UsageError
from prefork.system.logs import explain_file_error


class Kind(NamedTuple):
    """One kind of file."""

    file: str
    maker: str
    """`module:function` in this folder; called with what is known of the service."""
    next_step: str
    """What to do with the file."""


class Service(NamedTuple):
    """What is known of a service that has no configuration yet."""

    app: str
    name: str
    directory: str


Maker = Callable[[Service], str]

DEFAULT_KIND = "toml"
KINDS = {
    "toml": Kind("prefork.toml", "init_toml:make_toml", "prefork check reads it, prefork starts it"),
}


def make_init_command() -> click.Command:
    """The command."""
    return click.Command(
        "init",
        params=[
            click.Argument(["words"], nargs=-1, metavar=f"[{'|'.join(KINDS)}] [APP]"),
            click.Option(
                ["--from", "source"],
                metavar="FILE",
                help="Translate a gunicorn.conf.py, or PM2's ecosystem.config.json.",
            ),
        ],
        callback=init,
        help="Write a prefork.toml for APP, or for the app that is found here; never replaces a file.",
        short_help="Write a prefork.toml to begin with.",
    )


def init(*, words: tuple[str, ...], source: str | None) -> int:
    """Write it. Raises `PreforkError`."""
    kind, app = _read_words(words)
    directory = find_directory(os.environ)
    if source is not None:
        from prefork.cli.init_from import make_toml_from  # noqa: PLC0415  # most have no such file

        if kind is not KINDS[DEFAULT_KIND]:
            raise UsageError("--from makes a prefork.toml", "prefork init --from FILE [APP]")
        text = make_toml_from(source, app, directory)
    else:
        app = app or find_obvious_app(directory)
        module, _, function = kind.maker.partition(":")
        make: Maker = getattr(importlib.import_module(f"prefork.cli.{module}"), function)
        text = make(Service(app, derive_name(app, directory), directory))
    path = posixpath.join(directory, kind.file)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise ConfigError(
            f"{kind.file} is there already, and is never replaced", "move it away first"
        ) from None
    except OSError as error:
        raise explain_file_error("file", path, error) from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"wrote {path} for {source or app}: {kind.next_step}")
    return 0


def _read_words(words: tuple[str, ...]) -> tuple[Kind, str]:
    if len(words) == 1 and words[0] not in KINDS and any(c in words[0] for c in ":./"):
        return KINDS[DEFAULT_KIND], words[0]
    kind, *rest = words or (DEFAULT_KIND,)
    if kind not in KINDS:
        near = find_nearest(kind, KINDS)
        raise UsageError(
            f"no kind of file {quote(kind)}",
            f"did you mean {near}?"
            if near
            else f"there are: {', '.join(KINDS)}; an app is module:attr or path/to/app.py",
        )
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {quote(rest[1])}", "prefork init KIND APP")
    return KINDS[kind], rest[0] if rest else ""
