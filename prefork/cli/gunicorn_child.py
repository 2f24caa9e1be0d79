"""Run a gunicorn.conf.py in this interpreter, which is made for it alone, and say as JSON what it sets.

Run by its path, with nothing of ours on `sys.path`; `gunicorn_file.py` is the other end. argv: the descriptor to answer
on, the file, the directory to work and to look for modules in, the names of settings, the names of hooks (each joined
by commas).
"""

from __future__ import annotations

import inspect
import json
import os
import sys


def main() -> None:
    """Write one JSON object to the descriptor; what the file prints goes to standard error."""
    fd, path, directory, settings, hooks = sys.argv[1:]
    os.set_inheritable(int(fd), False)
    answer = os.fdopen(int(fd), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.chdir(directory)
    sys.path[:] = [directory, *filter(None, sys.path)]
    sys.argv[1:] = []
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # as it was named
            code = compile(file.read(), path, "exec")
        names: dict[str, object] = {"__name__": "__config__", "__file__": path}
        exec(code, names)  # noqa: S102  # what gunicorn does with it, and what its owner wants
        found = describe(names, settings.split(","), hooks.split(","))
    except BaseException as error:  # noqa: BLE001  # SystemExit too: nothing of it may pass as an answer
        found = {"error": f"{type(error).__name__}: {tell(error)}", "line": find_line(error, path)}
    with answer:
        json.dump(found, answer)


def describe(names: dict[str, object], settings: list[str], hooks: list[str]) -> dict[str, object]:
    """The settings with plain values, the hooks with their arguments, and the names of what is neither."""
    plain, odd, called = {}, [], {}
    for name, value in names.items():
        if name in hooks and callable(value):
            called[name] = list_arguments(value)
        elif name in settings:
            try:
                plain[name] = make_plain(value)
            except TypeError:
                odd.append(name)
    return {"settings": plain, "hooks": called, "odd": odd}


def make_plain(value: object) -> object:
    """As JSON has it; a class becomes its dotted name, and an enum's member its number. Raises TypeError."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, list | tuple | set | frozenset):
        return [make_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): make_plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    raise TypeError(type(value).__name__)


def list_arguments(hook: object) -> str:
    """`(server, worker)`."""
    try:
        return f"({', '.join(inspect.signature(hook).parameters)})"  # type: ignore[arg-type]  # it is callable
    except (TypeError, ValueError):
        return "()"


def tell(error: BaseException) -> str:
    """Its first line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return (text.splitlines() or [""])[0]


def find_line(error: BaseException, path: str) -> int | None:
    """Where in the file it was raised."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


if __name__ == "__main__":
    main()
