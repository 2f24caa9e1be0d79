"""Find the app, import it, and say what it is.

Runs in the zygote (or in each worker when nothing is preloaded), never in the master: this executes the user's code.
Whatever that code raises, `SystemExit` included, becomes an `AppError` with the user's own traceback: an app
must not be able to end us without a word. Modules are imported by name, files too, so that pickling, relative
imports and `__name__` work as they do everywhere else.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from prefork.config.model import Interface, InterfaceChoice
from prefork.errors import AppError
from prefork.serve.blame import find_blame
from prefork.serve.guess import FACTORIES, OBVIOUS_NAMES, guess_target
from prefork.serve.interface import INTERFACES, count_required, find_shape, name_type, settle_interface
from prefork.serve.suggest import hint_attribute, hint_file, hint_module

__all__ = ["LoadedApp", "guess_target", "load_app"]


class LoadedApp(NamedTuple):
    """An app, ready to be served."""

    app: object
    interface: Interface
    where: str
    """The target in normal form: `main:app`, `shop.web:create_app()`."""
    file: str | None
    """Path of the module; None for one that has no file."""


def load_app(
    target: str, *, factory: bool = False, interface: InterfaceChoice = "auto", app_dir: str = "."
) -> LoadedApp:
    """Import `target` (`module[:attr[.attr]]`, `module:factory()`, `path/to/app.py[:attr]`) and tell its interface.

    Puts `app_dir`, and before it the directory of a file, first on `sys.path`. Raises `AppError`.
    """
    wanted = _parse_target(target, _make_absolute(app_dir))
    module = _import_module(wanted)
    name = wanted.attribute or _find_obvious(module, wanted, factory=factory)
    app = _get_attribute(module, wanted, name)
    called = "()" if factory or wanted.is_called or (wanted.attribute is None and name in FACTORIES) else ""
    written = f"{wanted.place}:{name}"  # in messages: what can be typed again, also when it is a path
    if not callable(app):
        near = hint_attribute(module, wanted.place, name)
        raise AppError(f"{written} is {name_type(app)}, not an app: it cannot be called", *near)
    if called:
        app = _call_factory(app, written, wanted.root)
    settled = settle_interface(app, written + called, interface)
    return LoadedApp(app, settled, f"{wanted.module}:{name}{called}", _find_file(module))


def load_function(target: str, app_dir: str = ".") -> Callable[..., object]:
    """Import `module:function`, as an app is imported. Raises `AppError`."""
    wanted = _parse_target(target, _make_absolute(app_dir))
    found = _get_attribute(_import_module(wanted), wanted, wanted.attribute or "")
    if not callable(found):
        raise AppError(f"{target} is {name_type(found)}: it cannot be called")
    return cast("Callable[..., object]", found)


@dataclass(frozen=True, slots=True)
class _Target:
    place: str
    """What was written before the colon."""
    module: str
    attribute: str | None
    is_called: bool
    file: Path | None
    """If the target is a path."""
    root: Path
    """The first directory of `sys.path`; the user's own files are below it."""
    app_dir: Path


def _parse_target(target: str, app_dir: Path) -> _Target:
    place, colon, attribute = target.strip().partition(":")
    is_called = attribute.endswith("()")
    attribute = attribute.removesuffix("()")
    if not place or (colon and not all(part.isidentifier() for part in attribute.split("."))):
        hints = ["write it as module:attr, module:factory() or path/to/app.py:attr"]
        if "(" in attribute:
            hints.append("a factory is called without arguments: write one that passes them on")
        raise AppError(f'"{target}" names no app', *hints)
    if not app_dir.is_dir():
        raise AppError(f"no directory {app_dir} to look for the app in", "check --app-dir and --chdir")
    if place.endswith(".py") or "/" in place:
        file = _find_target_file(place)
        root, module = _name_module(file)
        return _Target(place, module, attribute or None, is_called, file, root, app_dir)
    if not all(place.split(".")):
        raise AppError(f'"{target}" names no app', f'"{place}" is no dotted module name')
    return _Target(place, place, attribute or None, is_called, None, app_dir, app_dir)


def _find_target_file(place: str) -> Path:
    path = _make_absolute(place)
    if path.is_dir():
        path /= "__init__.py"
    if not path.is_file():
        near = (f"did you mean {place}.py?",) if path.with_suffix(".py").is_file() else hint_file(path)
        raise AppError(f"no file {place} (looked in {Path.cwd()})", *near)
    return path


def _make_absolute(path: str) -> Path:
    # Not resolve(): a deploy's `current` link must stay `current` in sys.path and in messages.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _name_module(file: Path) -> tuple[Path, str]:
    """The directory to import a file from, and its dotted name there."""
    if "." in file.stem:
        raise AppError(f"{file} cannot be imported: its name has a dot in it", "rename the file")
    directory = file.parent
    parts = [] if file.stem == "__init__" else [file.stem]
    while (directory / "__init__.py").is_file():
        parts.insert(0, directory.name)
        directory = directory.parent
    return directory, ".".join(parts)


def _import_module(wanted: _Target) -> types.ModuleType:
    _put_first(wanted.app_dir)
    _put_first(wanted.root)
    importlib.invalidate_caches()  # the finders may have listed the directory before the file was there
    try:
        module = importlib.import_module(wanted.module)
    # SystemExit and KeyboardInterrupt too: a script without a __main__ guard must not end us in silence.
    except BaseException as error:  # noqa: BLE001
        raise _explain_import(error, wanted) from None
    _refuse_hidden(module, wanted)
    return module


def _put_first(directory: Path) -> None:
    others = [entry for entry in sys.path if _make_absolute(entry) != directory]
    sys.path[:] = [str(directory), *others]


def _explain_import(error: BaseException, wanted: _Target) -> AppError:
    blame = find_blame(error, wanted.root)
    # Only when no frame is the user's is it the app itself that is missing, not something it imports.
    if isinstance(error, ModuleNotFoundError) and not blame.place:
        near = hint_module(wanted.root, wanted.module, wanted.attribute)
        message = f'no module named "{wanted.module}" (looked in {wanted.root})'
        return AppError(message, *(near or ("run it from the app's directory, or give --app-dir",)))
    if isinstance(error, SystemExit):
        return AppError(
            f"{wanted.module} ended the program while it was imported: {blame.line}",
            'put what runs it under: if __name__ == "__main__":',
            traceback=blame.traceback,
        )
    return AppError(f"{wanted.module} could not be imported: {blame.line}", traceback=blame.traceback)


def _refuse_hidden(module: types.ModuleType, wanted: _Target) -> None:
    """A file named as a module that Python has imported already (`code.py`, `http.py`) is not what we got."""
    expected = wanted.file or wanted.root.joinpath(*wanted.module.split(".")).with_suffix(".py")
    file = _find_file(module)
    if wanted.file is None and file and Path(file).is_relative_to(wanted.root):
        return  # a package beside a module of its name, say: Python's choice, and the user's own code
    if expected.is_file() and not (file and Path(file).samefile(expected)):
        raise AppError(
            f"{expected} is hidden by another module of its name: {file or 'a built-in one'}",
            "rename the file",
        )


def _find_file(module: types.ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return str(_make_absolute(file)) if file else None


def _find_obvious(module: types.ModuleType, wanted: _Target, *, factory: bool) -> str:
    groups = OBVIOUS_NAMES[::-1] if factory else OBVIOUS_NAMES
    for group in groups:
        there = {name: vars(module)[name] for name in group if callable(vars(module).get(name))}
        if len({id(value) for value in there.values()}) == 1:
            return next(iter(there))
        if there:
            raise AppError(
                f"{wanted.module} has more than one app: {', '.join(there)}",
                f"say which: {wanted.place}:{next(iter(there))}",
            )
    found = hint_attribute(module, wanted.place, "app")
    raise AppError(
        f"no app, application, handler or create_app in {wanted.module} ({_find_file(module)})",
        *(found or ("say what to serve: module:attr",)),
    )


def _get_attribute(module: types.ModuleType, wanted: _Target, name: str) -> object:
    where, value = wanted.module, cast("object", module)
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            holder = _find_file(module) if value is module else name_type(value)
            hints = hint_attribute(module, wanted.place, name)
            raise AppError(f'no attribute "{part}" in {where} ({holder})', *hints) from None
        except BaseException as error:  # noqa: BLE001  a module's __getattr__ is the user's code
            blame = find_blame(error, wanted.root)
            raise AppError(f"{where}:{name} raised {blame.line}", traceback=blame.traceback) from None
        where += f"{'.' if ':' in where else ':'}{part}"
    return value


def _call_factory(factory: Callable[..., object], where: str, root: Path) -> object:
    if required := count_required(factory):
        if (shape := find_shape(factory)) in INTERFACES:
            raise AppError(f"{where} is no factory but an app ({shape.value})", "leave out --factory and ()")
        arguments = "1 argument" if required == 1 else f"{required} arguments"
        wrap = "write one without arguments that calls it"
        raise AppError(f"{where} needs {arguments}, and a factory is called without any", wrap)
    try:
        app = factory()
    except BaseException as error:  # noqa: BLE001  SystemExit too, as at import
        blame = find_blame(error, root)
        raise AppError(f"{where}() raised {blame.line}", traceback=blame.traceback) from None
    if inspect.iscoroutine(app):
        app.close()  # or Python warns that nobody awaited it
        raise AppError(
            f"{where} is a coroutine function", "a factory is a plain function that returns the app"
        )
    if app is None:
        raise AppError(f"{where}() returned None, not an app", "does it end with a return?")
    return app
