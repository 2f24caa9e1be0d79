"""Folders are floors, and imports go down only.

The rules of ARCHITECTURE.md as tables, and a reader that finds every breach of them in a source tree without
importing it. Imports inside functions and under TYPE_CHECKING count: a type is a dependency too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "prefork"

FLOORS = {
    "errors": 0,
    "identity": 0,
    "inside": 0,
    "core": 1,
    "config": 1,
    "ipc": 1,
    "system": 2,
    "serve": 2,
    "worker": 3,
    "control": 3,
    "zygote": 4,
    "watcher": 4,
    "chooser": 4,
    "admin": 4,
    "master": 4,
    "top": 4,
    "cli": 5,
    "__main__": 5,
}
"""Every module and folder directly under `prefork/`, and its floor."""

SIDEWAYS: dict[tuple[str, str], str] = {
    ("ipc", "config"): "the message that starts a zygote carries the whole Config",
    ("__main__", "cli"): "`python -m prefork` is the command line",
}
"""Imports between two rooms of one floor that are allowed, and why. All others are refused."""

FORBIDDEN_MODULES = {
    "core": {"asyncio", "logging", "os", "random", "signal", "socket", "time"},
    "control": {"asyncio", "threading"},
    "ipc": {"asyncio"},
    "master": {"asyncio"},
}
"""What a room may not import: `core/` decides without looking, the master has one thread and no event loop."""

KERNEL_ONLY = {
    "os": {"fork", "forkpty", "kill", "killpg", "wait", "wait3", "wait4", "waitid", "waitpid"},
    "signal": {"pthread_kill", "set_wakeup_fd", "signal"},
    "time": {"monotonic", "monotonic_ns", "sleep", "time", "time_ns"},
}
"""What only `system/` may name: the calls that fork, signal, wait or read the clock."""


def test_imports_go_down_only_and_only_the_kernel_floor_forks_signals_and_reads_the_clock() -> None:
    assert find_breaches(PACKAGE) == []


# The reader. Public: find_breaches.


def find_breaches(package: Path) -> list[str]:
    """Every breach of the tables above in a package's source, as `path:line: what`, in order."""
    breaches = []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(), filename=str(path))
        found = sorted({*check_imports(package, path, tree), *check_kernel_calls(package, path, tree)})
        breaches += [f"{path.relative_to(package)}:{line}: {what}" for line, what in found]
    return breaches


def check_imports(package: Path, path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    room = find_room(package, path)
    at_module_level = {id(node) for node in walk_module_level(tree)}
    for node, target in find_imports(package, path, tree):
        top, _, rest = target.partition(".")
        if top != package.name:
            if top in FORBIDDEN_MODULES.get(room, ()):
                yield node.lineno, f"{room} imports {top}"
            continue
        other = rest.partition(".")[0]
        if other and (refusal := refuse_import(room, other, lazy=id(node) not in at_module_level)):
            yield node.lineno, refusal


def refuse_import(room: str, other: str, *, lazy: bool) -> str | None:
    if room == "":  # prefork/__init__.py is every floor's, so all it imports at once everybody imports
        return None if lazy or FLOORS.get(other) == 0 else f"__init__ imports {other} at module level"
    for name in (room, other):
        if name not in FLOORS:
            return f"{name} has no floor"
    if room == other or FLOORS[other] < FLOORS[room] or (room, other) in SIDEWAYS:
        return None
    direction = "sideways" if FLOORS[other] == FLOORS[room] else "up"
    return f"{room} imports {direction}: {other}"


def find_room(package: Path, path: Path) -> str:
    """The folder or module directly under the package that a file belongs to; "" for its own __init__."""
    first = path.relative_to(package).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def find_imports(package: Path, path: Path, tree: ast.Module) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Each import of a module, with the absolute dotted name it may reach."""
    here = [package.name, *path.relative_to(package).parent.parts]
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield node, alias.name
            case ast.ImportFrom():
                base = here[: len(here) - node.level + 1] if node.level else []
                base = [*base, *(node.module or "").split(".")] if node.module else base
                for alias in node.names:
                    # `from package import name`: the name may be a module, and only its existence tells.
                    is_module = base[:1] == [package.name] and is_room_name(package, base[1:], alias.name)
                    yield node, ".".join([*base, alias.name] if is_module else base)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node, name


def is_room_name(package: Path, folders: list[str], name: str) -> bool:
    target = package.joinpath(*folders, name)
    return target.is_dir() or target.with_suffix(".py").exists()


def walk_module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: all but the insides of functions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def check_kernel_calls(package: Path, path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    room = find_room(package, path)
    if room == "system":
        return
    modules: dict[str, str] = {}  # name in this file -> kernel module
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                modules |= {
                    alias.asname or alias.name: alias.name
                    for alias in node.names
                    if alias.name in KERNEL_ONLY
                }
            case ast.ImportFrom(module=str(module), level=0) if module in KERNEL_ONLY:
                for alias in node.names:
                    if alias.name in KERNEL_ONLY[module]:
                        yield node.lineno, f"{room or '__init__'} names {module}.{alias.name}"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in modules:
                if attribute in KERNEL_ONLY[modules[name]]:
                    yield node.lineno, f"{room or '__init__'} names {modules[name]}.{attribute}"


# The reader, tried on small trees.


@pytest.mark.parametrize(
    ("path", "source", "breach"),
    [
        ("core/arbiter.py", "from prefork.master import loop", "core imports up: master"),
        ("core/arbiter.py", "import prefork.system.kernel", "core imports up: system"),
        ("core/arbiter.py", "from .. import cli", "core imports up: cli"),
        ("core/arbiter.py", "def late():\n    from ..worker.beat import beat", "core imports up: worker"),
        (
            "core/arbiter.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from prefork import serve",
            "core imports up: serve",
        ),
        ("core/arbiter.py", "import_module('prefork.master.loop')", "core imports up: master"),
        ("core/deep/policy.py", "from ...system import kernel", "core imports up: system"),
        ("core/arbiter.py", "from prefork.config.model import Config", "core imports sideways: config"),
        ("master/loop.py", "from prefork import zygote", "master imports sideways: zygote"),
        ("zygote/main.py", "from prefork.master.loop import run", "zygote imports sideways: master"),
        ("errors.py", "from prefork.core import arbiter", "errors imports up: core"),
        ("__init__.py", "from prefork.worker import beat", "__init__ imports worker at module level"),
        ("helpers.py", "import prefork.errors", "helpers has no floor"),
        ("core/arbiter.py", "import time", "core imports time"),
        ("core/arbiter.py", "import os.path", "core imports os"),
        ("core/arbiter.py", "from random import random", "core imports random"),
        ("master/loop.py", "import asyncio.events", "master imports asyncio"),
        ("ipc/channel.py", "def late():\n    import asyncio", "ipc imports asyncio"),
        ("master/loop.py", "import os\nos.fork()", "master names os.fork"),
        ("worker/main.py", "import time as clock\nread = clock.monotonic", "worker names time.monotonic"),
        ("cli/run.py", "from os import kill", "cli names os.kill"),
        (
            "serve/http.py",
            "def f():\n    import signal\n    signal.signal(15, f)",
            "serve names signal.signal",
        ),
        ("__init__.py", "import time\ntime.time()", "__init__ names time.time"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, path: str, source: str, breach: str) -> None:
    package = make_package(tmp_path, path, source)

    found = find_breaches(package)

    assert [line.partition(": ")[2] for line in found] == [breach]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/arbiter.py", "from .. import errors\nfrom . import backoff\nimport prefork.core.backoff"),
        (
            "master/loop.py",
            "from prefork.core.arbiter import Arbiter\nfrom prefork.system import kernel\nimport os",
        ),
        ("cli/run.py", "from prefork.master import loop\nfrom prefork import zygote"),
        ("system/kernel.py", "import os, time\nos.fork()\ntime.monotonic()"),
        ("serve/http.py", "import asyncio\nasyncio.get_running_loop().time()"),
        ("ipc/messages.py", "from prefork.config.model import Config"),
        (
            "__init__.py",
            "from prefork.errors import PreforkError\ndef run():\n    from prefork.cli import run",
        ),
        ("worker/main.py", "from prefork import __version__\nimport os\nos.getpid()"),
    ],
)
def test_what_goes_down_is_allowed(tmp_path: Path, path: str, source: str) -> None:
    assert find_breaches(make_package(tmp_path, path, source)) == []


def make_package(folder: Path, path: str, source: str) -> Path:
    """A package `prefork` with a room per floor, all empty but one file."""
    package = folder / "prefork"
    for room in FLOORS:
        if room in {"errors", "identity", "inside", "__main__"}:
            (package / f"{room}.py").parent.mkdir(parents=True, exist_ok=True)
            (package / f"{room}.py").touch()
        else:
            (package / room).mkdir(parents=True)
            (package / room / "__init__.py").touch()
    (package / "__init__.py").touch()
    target = package / path
    target.parent.mkdir(exist_ok=True)
    target.write_text(source)
    return package
