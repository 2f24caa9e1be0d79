"""Read the environment and the files, and resolve them with the flags: the edge that `config/` has not.

What the user typed is read once; files are read again for every reload. Paths count from the directory the program
was started in, by its name: a deploy that turns `current -> releases/42` round is found by the next reload.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from prefork.cli.cutting import CONFIG_FLAG, PROFILE_FLAG
from prefork.config import tables
from prefork.config.documents import PYPROJECT, read_document, read_pyproject
from prefork.config.model import Config
from prefork.config.nearest import find_nearest
from prefork.config.resolving import FindApp, Resolved, join_path, list_env_files, resolve
from prefork.config.sources import (
    Layer,
    read_app,
    read_flags,
    read_keywords,
    read_platform,
    read_variables,
)
from prefork.config.tables import Tables
from prefork.config.values import RefusedValueError, is_clean, parse_text, quote
from prefork.errors import ConfigError, NoPermissionError, UsageError
from prefork.system import interpreter
from prefork.system.cpus import count_cpus

if TYPE_CHECKING:
    from prefork.system.inquiry import Answer, Inquiry

OWN_FILE = "prefork.toml"
GUNICORN_FILE = "gunicorn.conf.py"
TOOL_TABLE = "tool.prefork"
BACKGROUND_LOG_BYTES = 100 * 1024 * 1024


class Start(msgspec.Struct, frozen=True):
    """What the program was started with; the same for every reload."""

    layers: tuple[Layer, ...]
    """What was typed."""
    config_file: str | None
    directory: str
    environ: Mapping[str, str]
    pid: int
    has_own_file: bool = False
    """Was there a prefork.toml in the directory?"""
    profile: str | None = None
    table: str | None = None
    """The `[app.NAME]` to serve; empty: none of them. None: what was typed decides, if it is the name of one."""

    answer: Answer | None = None
    """What a configuration file that is Python has just answered; None: it is to be asked."""
    is_background: bool = False
    """Without a terminal or a manager that reads standard error: the log is a file."""

    def in_background(self) -> Start:
        """The same for a background master."""
        return msgspec.structs.replace(self, is_background=True)

    def narrow(self, table: str) -> Start:
        """The same for this `[app.NAME]`, whatever the file has at the next reading."""
        return msgspec.structs.replace(self, table=table)


def start_from_flags(app: str | None, flags: Mapping[str, Any]) -> Start:
    """The command line's start."""
    flags = dict(flags)
    config_file, profile = flags.pop(CONFIG_FLAG, None), flags.pop(PROFILE_FLAG, None)
    layers = [read_flags(flags)] if app is None else [read_app(app), read_flags(flags)]
    return _make_start(layers, config_file, profile)


def start_from_keywords(app: str | None, keywords: Mapping[str, Any]) -> Start:
    """`prefork.run`'s start."""
    keywords = {
        key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in keywords.items()
    }
    config_file, profile = keywords.pop(CONFIG_FLAG, None), keywords.pop(PROFILE_FLAG, None)
    if app is not None:
        if not isinstance(app, str):
            raise UsageError(
                f"prefork.run needs the app's name, not {quote(app)}",
                'workers import it in a fresh interpreter: write "module:attr"',
            )
        keywords["app"] = app
    return _make_start([read_keywords(keywords)], config_file, profile)


def read_configuration(start: Start, find_app: FindApp | None = None) -> Resolved:
    """Read the files and resolve everything. Raises `PreforkError` for whatever is wrong with it."""
    files, paths = _read_files(start)
    table = _choose_table(start, files)
    layers = (
        list(start.layers) if not table else [_drop_name_of_table(layer, table) for layer in start.layers]
    )
    layers += [read_variables(start.environ), *_read_gunicorn_arguments(start.environ)[1]]
    layers += tables.pick_layers(files, table, start.profile)
    layers.append(read_platform(start.environ, start.pid))
    env_files = {path: read_text(path, path) for path in list_env_files(layers, start.directory)}
    resolved = resolve(
        layers,
        directory=start.directory,
        env_files=env_files,
        count_cpus=_count_cpus,
        find_app=find_app or find_obvious_app,
    )
    _check_directory(resolved.config.chdir, "chdir")
    for path in resolved.config.reload_dir:
        _check_directory(path, "reload-dir")
    config = resolved.config
    if files:
        config = msgspec.structs.replace(config, config_file=paths[-len(files)], worker_hooks=files[0].hooks)
    if start.is_background and config.log_file is None:
        from prefork.cli.state import find_log  # noqa: PLC0415  # nobody else asks

        config = msgspec.structs.replace(config, log_file=find_log(start.environ, config.name))
        if resolved.origin["log_max_size_bytes"] == "default":  # nobody else looks after a file that we chose
            config = msgspec.structs.replace(config, log_max_size_bytes=BACKGROUND_LOG_BYTES)
    if config.reload:  # nobody else asks
        config = msgspec.structs.replace(config, read_from=(*paths, *env_files))
    notes = resolved.notes + (() if files else _tell_unread(start.directory))
    return msgspec.structs.replace(resolved, config=config, table=table, notes=notes)


def read_tables(start: Start) -> list[Tables]:
    """The tables of the files, highest first. Raises `PreforkError`."""
    return _read_files(start)[0]


def split_start(start: Start) -> list[Start]:
    """One start for each app that is meant: where nobody named one, all those of the file."""
    names = tables.list_apps(read_tables(start))
    if start.table is not None or len(names) < 2 or find_typed(start) is not None:
        return [start]
    return [start.narrow(name) for name in names]


def find_typed(start: Start) -> str | None:
    """The APP that was typed: an app, or the name of an `[app.NAME]`."""
    given = next((layer.given["app"] for layer in start.layers if "app" in layer.given), None)
    return None if given is None else str(given.value)


class Reread:
    """What a reload calls for the new configuration: see `master/rereading.py`."""

    def __init__(self, start: Start) -> None:
        self._start = start

    def inquire(self) -> Inquiry | None:
        """What has to be run first, started; None for most. Raises `PreforkError`."""
        path = self._start.config_file
        if path is None or not path.endswith(".py"):
            return None
        from prefork.cli.gunicorn_file import ask_gunicorn_file  # noqa: PLC0415  # few have one

        directory = self._start.directory
        return ask_gunicorn_file(join_path(directory, path), path, directory, self._start.environ)

    def __call__(self, answer: Answer | None = None) -> Config:
        """The new one. Raises `PreforkError`."""
        return read_configuration(msgspec.structs.replace(self._start, answer=answer)).config


def find_obvious_app(directory: str) -> str:
    """The app of a directory where nobody named one."""
    from prefork.serve.guess import guess_target  # noqa: PLC0415  # parses source files; most starts name their app

    return guess_target(directory)


def find_directory(environ: Mapping[str, str]) -> str:
    """The current directory under the name the shell knows it by, symbolic links included."""
    try:
        directory = interpreter.find_directory(environ)
    except OSError:
        raise ConfigError("the current directory is gone", "cd to one that is there") from None
    if not is_clean(directory):
        raise ConfigError(f"the name of the current directory is not clean text: {quote(directory)}")
    return directory


def _make_start(layers: list[Layer], config_file: object, profile: object) -> Start:
    environ = dict(os.environ)
    path = _read_word("the configuration file", config_file, environ.get("PREFORK_CONFIG"))
    path = _read_gunicorn_arguments(environ)[0] if path is None else path
    path = None if path is None else path.removeprefix("file:")  # as gunicorn may have it
    directory = find_directory(environ)
    has_own_file = path is None and posixpath.exists(posixpath.join(directory, OWN_FILE))
    profile = _read_word("the profile", profile, environ.get("PREFORK_PROFILE"))
    return Start(tuple(layers), path, directory, environ, os.getpid(), has_own_file, profile)


def _tell_unread(directory: str) -> tuple[str, ...]:
    """Gunicorn reads this file unasked: whoever expects that shall hear of it."""
    if not posixpath.exists(posixpath.join(directory, GUNICORN_FILE)):
        return ()
    return (
        f"{GUNICORN_FILE} is not read: -c {GUNICORN_FILE} does, prefork init --from {GUNICORN_FILE} translates it",
    )


def _read_gunicorn_arguments(environ: Mapping[str, str]) -> tuple[str | None, list[Layer]]:
    """The file and the layer of GUNICORN_CMD_ARGS, if there is one."""
    text = environ.get("GUNICORN_CMD_ARGS")
    if not text:
        return None, []
    from prefork.cli.gunicorn_arguments import cut_arguments  # noqa: PLC0415  # most have none

    path, layer = cut_arguments(text)
    return path, [layer]


def _read_word(what: str, given: object, variable: str | None) -> str | None:
    given = variable or None if given is None else given
    try:
        return None if given is None else parse_text(given)
    except RefusedValueError as refused:
        raise ConfigError(f"{what} {quote(given)}: {refused.message}", *refused.hints) from None


def _choose_table(start: Start, files: list[Tables]) -> str:
    """Which app of the file is meant; empty when it is one without a table. Raises `PreforkError`."""
    names = tables.list_apps(files)
    if start.table is not None:
        if start.table and start.table not in names:
            raise ConfigError(f"there is no [app.{start.table}] any more", "the service goes by that table")
        return start.table
    typed = find_typed(start)
    if typed in names:
        return str(typed)
    if typed is not None:
        _refuse_misspelt(typed, names, start.directory)
        return ""
    if len(names) > 1:
        raise UsageError(
            f"which app? {files[0].file} has {', '.join(names)}",
            f"prefork run {names[0]}: one of them, here in the foreground",
            "prefork start: all of them, in the background; prefork start NAME: one",
        )
    return names[0] if names else ""


def _refuse_misspelt(typed: str, names: tuple[str, ...], directory: str) -> None:
    is_word = not any(c in typed for c in ":/")
    if is_word and (near := find_nearest(typed, names)):
        path = posixpath.join(directory, typed.partition(".")[0])
        if not posixpath.exists(path) and not posixpath.exists(f"{path}.py"):
            raise UsageError(
                f"no app {quote(typed)} in the configuration, and no module here",
                f"did you mean {near}?        there are: {', '.join(names)}",
            )


def _drop_name_of_table(layer: Layer, table: str) -> Layer:
    """What was typed is the table's name, so it is not where the app is."""
    if "app" not in layer.given or layer.given["app"].value != table:
        return layer
    return Layer({key: given for key, given in layer.given.items() if key != "app"}, layer.default_host)


def _read_files(start: Start) -> tuple[list[Tables], list[str]]:
    """The files' tables, and the paths that they are of or would be of."""
    files = []
    own, pyproject = (posixpath.join(start.directory, name) for name in (OWN_FILE, PYPROJECT))
    paths = [own if start.config_file is None else join_path(start.directory, start.config_file)]
    if start.config_file is not None:
        files.append(_read_named_file(start.config_file, start))
    elif start.has_own_file or posixpath.exists(own):  # what was there at the start must not go by accident
        files.append(tables.cut_tables(read_document(_read(own, OWN_FILE), OWN_FILE), OWN_FILE))
    if (data := _read_if_there(pyproject, PYPROJECT)) is not None:
        table = read_pyproject(data, PYPROJECT)
        if table is not None:
            files.append(tables.cut_tables(table, PYPROJECT, TOOL_TABLE))
            paths.append(pyproject)
    return files, paths


def _read_named_file(path: str, start: Start) -> Tables:
    directory = start.directory
    if path.startswith("python:"):
        raise ConfigError(f"{path} is a module", "name its file, as in -c shop/gunicorn.conf.py")
    if path.endswith(".py"):
        from prefork.cli import gunicorn_file  # noqa: PLC0415  # few have one

        if start.answer is not None:
            read = gunicorn_file.read_answer(start.answer, path)
        else:
            read = gunicorn_file.read_gunicorn_file(
                join_path(directory, path), path, directory, start.environ
            )
        gunicorn_file.refuse_left(read, path)
        return msgspec.structs.replace(tables.cut_tables(read.keys, path), hooks=read.hooks)
    data = _read(join_path(directory, path), path)
    if posixpath.basename(path) == PYPROJECT:
        return tables.cut_tables(read_pyproject(data, path) or {}, path, TOOL_TABLE)
    return tables.cut_tables(read_document(data, path), path)


def _read_if_there(path: str, label: str) -> bytes | None:
    return _read(path, label) if posixpath.exists(path) else None


def read_text(path: str, label: str) -> str:
    """The text of a file; `label` names it in errors. Raises `PreforkError`."""
    data = _read(path, label)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{label}, line {line}: not UTF-8") from None


def _read(path: str, label: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # pathlib costs milliseconds at every start
            return file.read()
    except OSError as error:
        message = f"cannot read {label}: {(error.strerror or str(error)).lower()}"
        hints = [] if label == path else [f"it would be {path}"]
        refused = NoPermissionError if isinstance(error, PermissionError) else ConfigError
        raise refused(message, *hints) from None


def _count_cpus() -> tuple[int, str]:
    found = count_cpus()
    return found.count, found.why


def _check_directory(path: str, option: str) -> None:
    doing = "work in" if option == "chdir" else "watch"
    if not posixpath.isdir(path):
        raise ConfigError(f"cannot {doing} {path}: no such directory", f"set {option} to one that is there")
    if not os.access(path, os.X_OK):
        raise NoPermissionError(f"cannot {doing} {path}: permission denied")
