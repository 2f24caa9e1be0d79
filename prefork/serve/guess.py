"""Where is the app, when nobody said? Reads files, never imports them.

The command line asks before any app code may run, so a file is parsed, not executed, and a wrong guess would
serve the wrong program: what is ambiguous is refused with the list of what was found.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from prefork.errors import UsageError

OBVIOUS_FILES = ("app", "main", "wsgi", "asgi")
OBVIOUS_NAMES = (("app", "application"), ("handler",), ("create_app",))
"""In order of preference; two different objects in one group are ambiguous. `create_app` is a factory."""
FACTORIES = {"create_app"}


def guess_target(directory: str) -> str:
    """The obvious app of a directory, as `module:attr` or `module:create_app()`. Raises `UsageError` when
    there is none, or more than one.
    """
    where = Path(directory).absolute()
    names = {stem: read_names(where / f"{stem}.py") for stem in OBVIOUS_FILES}
    found = [
        f"{stem}:{name}{'()' if name in FACTORIES else ''}"
        for stem, bound in names.items()
        for name in pick_obvious(bound)
        if not _is_passed_on(bound[name], name, names)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"no app was named, and {where} has more than one",
            f"found: {', '.join(found)}",
            f"say which: prefork {found[0]}",
        )
    files = [f"{stem}.py" for stem in OBVIOUS_FILES if (where / f"{stem}.py").is_file()]
    raise UsageError(
        f"no app was named, and none was found in {where}",
        "looked for app, application, handler, create_app in app.py, main.py, wsgi.py, asgi.py"
        + (f"        found: {', '.join(files)} without them" if files else ""),
        "say where it is: prefork module:attr, or prefork path/to/file.py",
    )


def pick_obvious(names: dict[str, str]) -> list[str]:
    """The names of the best group that is there; an alias of another name does not count."""
    for group in OBVIOUS_NAMES:
        there = [name for name in group if name in names]
        picked = [name for name in there if names[name] not in there or names[name] == name]
        if picked:
            return picked
    return []


def read_names(path: Path) -> dict[str, str]:
    """What a file binds at its top level: name → the name it is an alias of, `module.name` if it was imported from
    there, else itself. Empty when the file is missing or cannot be parsed.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError):
        return {}
    return dict(_read_bindings(tree.body))


def _is_passed_on(origin: str, name: str, names: dict[str, dict[str, str]]) -> bool:
    """`from app import app` in wsgi.py: the same app, already found in its own file."""
    module, _, original = origin.rpartition(".")
    return module in names and original in names[module] and original == name


def _read_bindings(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, name
            case ast.ImportFrom(module=module, names=aliases):  # a plain import binds modules only, no apps
                for alias in aliases:
                    yield alias.asname or alias.name, f"{module or ''}.{alias.name}"
            case ast.Assign(targets=targets, value=value):
                yield from _read_targets(targets, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from _read_targets([target], value)
            case ast.If(test=test) if _is_main_guard(test):
                continue
            case ast.If() | ast.Try() | ast.With():
                for inner in _list_blocks(statement):
                    yield from _read_bindings(inner)


def _read_targets(targets: list[ast.expr], value: ast.expr) -> Iterator[tuple[str, str]]:
    nodes = [node for target in targets for node in ast.walk(target)]
    # Loaded names are not bound: `app.state = …` binds no `app`.
    names = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    for name in names:
        if isinstance(value, ast.Name):
            yield name, value.id
        else:
            # `app = application = Flask(…)`: all are aliases of the first.
            yield name, names[0] if len(targets) > 1 else name


def _is_main_guard(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _list_blocks(statement: ast.If | ast.Try | ast.With) -> list[list[ast.stmt]]:
    match statement:
        case ast.If():
            return [statement.body, statement.orelse]
        case ast.With():
            return [statement.body]
        case ast.Try():
            handlers = [handler.body for handler in statement.handlers]
            return [statement.body, *handlers, statement.orelse, statement.finalbody]
