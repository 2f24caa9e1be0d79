"""What did the user mean? Suggestions for the second line of an error; never an error of its own.

A module that was imported is read as objects, a file that was not is only parsed: importing a file because its
name is near would run code that nobody asked for.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prefork.serve.guess import FACTORIES, OBVIOUS_NAMES, pick_obvious, read_names
from prefork.serve.interface import INTERFACES, Shape, find_named_shape, find_shape, is_protocol_class

MAX_FOUND = 5
GAP = " " * 8


def hint_attribute(module: types.ModuleType, where: str, wanted: str) -> tuple[str, ...]:
    """The hint line for a `wanted` name that `module` does not have, or that is no app; empty if nothing is near."""
    found = find_apps(module)
    near = _get_close_matches(wanted, found, n=1)
    name = near[0] if near else next(iter(found)) if len(found) == 1 else None
    parts = []
    if name and name != wanted:
        parts.append(f"did you mean {where}:{name}{'()' if found[name] is Shape.FACTORY else ''}?")
    if found:
        shown = list(found.items())[:MAX_FOUND]
        parts.append(f"found: {', '.join(_label(name, shape) for name, shape in shown)}")
    return (GAP.join(parts),) if parts else ()


def find_apps(module: types.ModuleType) -> dict[str, Shape]:
    """The objects of an imported module that look like apps, in the order of its text, factories last."""
    shapes = {}
    for name, value in tuple(vars(module).items()):
        # A lazy proxy may raise anything when it is looked at; then it is no suggestion.
        with suppress(Exception):
            if not name.startswith("_") and _is_meant(module, name, value):
                shapes[name] = find_shape(value)
    return dict(sorted(shapes.items(), key=lambda found: found[1] is Shape.FACTORY))


def hint_module(directory: Path, module: str, attribute: str | None) -> tuple[str, ...]:
    """The hint line for a `module` that is not to be found from `directory`; empty if nothing is near."""
    head, _, tail = module.rpartition(".")
    # `main.app` for `main:app`.
    if head and tail in read_names(directory.joinpath(*head.split(".")).with_suffix(".py")):
        return (f"did you mean {head}:{tail}?",)
    files = _list_modules(directory)
    if near := _get_close_matches(module, files, n=1):
        return (f"did you mean {_spell(near[0], files[near[0]], attribute)}?",)
    for folder in _list_folders(directory):
        file = folder / f"{module}.py"
        if file.is_file():
            # A folder that is no package (`src/`) is meant to be on sys.path: the path form puts it there.
            is_package = (folder / "__init__.py").is_file()
            place = f"{folder.name}.{module}" if is_package else str(file.relative_to(directory))
            return (f"did you mean {_spell(place, file, attribute)}?",)
    return ()


def hint_file(path: Path) -> tuple[str, ...]:
    """The hint line for a Python file that is not there; empty if nothing is near."""
    with suppress(OSError):
        # Stems, because the suffix that all of them share would make any two short names near.
        stems = [entry.stem for entry in path.parent.iterdir() if entry.suffix == ".py"]
        if near := _get_close_matches(path.stem, stems, n=1):
            return (f"did you mean {os.path.relpath(path.with_name(near[0] + '.py'))}?",)
    return ()


def _label(name: str, shape: Shape) -> str:
    return f"{name}() (factory: add --factory)" if shape is Shape.FACTORY else f"{name} ({shape.value})"


def _is_meant(module: types.ModuleType, name: str, value: object) -> bool:
    """Many callables take two arguments, or none; is this one meant to be served?"""
    shape = find_shape(value)
    if any(name in group for group in OBVIOUS_NAMES):
        return shape in {*INTERFACES, Shape.FACTORY}
    if is_protocol_class(value) or isinstance(value, types.FunctionType):
        is_own = getattr(value, "__module__", None) == module.__name__
        return is_own and (is_protocol_class(value) or find_named_shape(value) is not None)
    return not isinstance(value, type) and shape in INTERFACES


def _list_modules(directory: Path) -> dict[str, Path]:
    """Modules and packages of a directory, with the file that each would run."""
    modules = {}
    with suppress(OSError):
        for entry in sorted(directory.iterdir()):
            if entry.suffix == ".py" and entry.stem.isidentifier():
                modules[entry.stem] = entry
            elif entry.name.isidentifier() and (entry / "__init__.py").is_file():
                modules[entry.name] = entry / "__init__.py"
    return modules


def _list_folders(directory: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(entry for entry in directory.iterdir() if entry.name.isidentifier() and entry.is_dir())
    return []


def _spell(place: str, path: Path, attribute: str | None) -> str:
    """A whole target: with the wanted attribute if the file binds it, else with its obvious one."""
    names = read_names(path)
    if attribute in names:
        return f"{place}:{attribute}"
    obvious = pick_obvious(names)
    if len(obvious) != 1:
        return place
    return f"{place}:{obvious[0]}{'()' if obvious[0] in FACTORIES else ''}"


def _get_close_matches(word: str, candidates: Iterable[str], n: int) -> list[str]:
    import difflib  # noqa: PLC0415 only mistakes need it

    return difflib.get_close_matches(word, list(candidates), n=n)
