"""Read the environment and the files, and resolve them with the flags: the edge that `config/` has not.

What the user typed is read once; files are read again for every reload. Paths count from the directory the program
was started in, by its name: a deploy that turns `current -> releases/42` round is found by the next reload.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from prefork.cli.cutting import CONFIG_FLAG
from prefork.config.documents import PYPROJECT, read_document, read_pyproject
from prefork.config.model import Config
from prefork.config.resolving import FindApp, Resolved, join_path, list_env_files, resolve
from prefork.config.sources import (
    Layer,
    read_app,
    read_flags,
    read_keywords,
    read_platform,
    read_table,
    read_variables,
)
from prefork.config.values import RefusedValueError, is_clean, parse_text, quote
from prefork.errors import ConfigError, NoPermissionError, UsageError
from prefork.system import interpreter
from prefork.system.cpus import count_cpus

OWN_FILE = "prefork.toml"


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


def start_from_flags(app: str | None, flags: Mapping[str, Any]) -> Start:
    """The command line's start."""
    flags = dict(flags)
    config_file = flags.pop(CONFIG_FLAG, None)
    layers = [read_flags(flags)] if app is None else [read_app(app), read_flags(flags)]
    return _make_start(layers, config_file)


def start_from_keywords(app: str | None, keywords: Mapping[str, Any]) -> Start:
    """`prefork.run`'s start."""
    keywords = {
        key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in keywords.items()
    }
    config_file = keywords.pop(CONFIG_FLAG, None)
    if app is not None:
        if not isinstance(app, str):
            raise UsageError(
                f"prefork.run needs the app's name, not {quote(app)}",
                'workers import it in a fresh interpreter: write "module:attr"',
            )
        keywords["app"] = app
    return _make_start([read_keywords(keywords)], config_file)


def read_configuration(start: Start, find_app: FindApp | None = None) -> Resolved:
    """Read the files and resolve everything. Raises `PreforkError` for whatever is wrong with it."""
    files, paths = _read_files(start)
    layers = [*start.layers, read_variables(start.environ), *files]
    layers.append(read_platform(start.environ, start.pid))
    env_files = {path: _read_text(path) for path in list_env_files(layers, start.directory)}
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
    config = msgspec.structs.replace(resolved.config, config_file=paths[-len(files)] if files else "")
    if config.reload:  # nobody else asks
        config = msgspec.structs.replace(config, read_from=(*paths, *env_files))
    return msgspec.structs.replace(resolved, config=config)


def make_reread(start: Start) -> Callable[[], Config]:
    """What a reload calls for the new configuration."""
    return lambda: read_configuration(start).config


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


def _make_start(layers: list[Layer], config_file: object) -> Start:
    environ = dict(os.environ)
    given = environ.get("PREFORK_CONFIG") or None if config_file is None else config_file
    try:
        path = None if given is None else parse_text(given)
    except RefusedValueError as refused:
        raise ConfigError(
            f"the configuration file {quote(given)}: {refused.message}", *refused.hints
        ) from None
    directory = find_directory(environ)
    has_own_file = path is None and posixpath.exists(posixpath.join(directory, OWN_FILE))
    return Start(tuple(layers), path, directory, environ, os.getpid(), has_own_file)


def _read_files(start: Start) -> tuple[list[Layer], list[str]]:
    """The files' layers, and the paths that they are of or would be of."""
    layers = []
    own, pyproject = (posixpath.join(start.directory, name) for name in (OWN_FILE, PYPROJECT))
    paths = [own if start.config_file is None else join_path(start.directory, start.config_file)]
    if start.config_file is not None:
        layers.append(_read_named_file(start.config_file, start.directory))
    elif start.has_own_file or posixpath.exists(own):  # what was there at the start must not go by accident
        layers.append(read_table(read_document(_read(own, OWN_FILE), OWN_FILE), OWN_FILE))
    if (data := _read_if_there(pyproject, PYPROJECT)) is not None:
        table = read_pyproject(data, PYPROJECT)
        if table is not None:
            layers.append(read_table(table, f"{PYPROJECT} [tool.prefork]"))
            paths.append(pyproject)
    return layers, paths


def _read_named_file(path: str, directory: str) -> Layer:
    if path.endswith(".py"):
        raise ConfigError(
            f"{path} is Python, and configuration is TOML here",
            "write its settings as keys of a prefork.toml",
        )
    data = _read(join_path(directory, path), path)
    if posixpath.basename(path) == PYPROJECT:
        label = f"{path} [tool.prefork]"
        return read_table(read_pyproject(data, path) or {}, label)
    return read_table(read_document(data, path), path)


def _read_if_there(path: str, label: str) -> bytes | None:
    return _read(path, label) if posixpath.exists(path) else None


def _read_text(path: str) -> str:
    data = _read(path, path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8") from None


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
