"""Which Python to start zygotes with: the one that runs us, under the name its user gave it.

A deploy turns a symbolic link round, `venv -> venv-2` or `current -> releases/2`, and reloads. The link's name leads to
the new environment then. `sys.executable` often has lost it: the first line of an installed script names the directory
that the environment was made in, and a relative path is made absolute with links resolved.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping


def find_directory(environ: Mapping[str, str]) -> str:
    """The current directory under the name the shell knows it by, symbolic links included. Raises OSError if it is
    gone.
    """
    physical = os.getcwd()
    logical = environ.get("PWD", "")
    try:
        # $PWD is inherited: it may be anybody's, so it counts only if it leads to where we are.
        if logical.startswith("/") and os.path.samefile(logical, physical):
            return logical
    except (OSError, ValueError):
        pass
    return physical


def find_python(environ: Mapping[str, str]) -> str:
    """Its path, absolute. To be asked once, at the start: later the links may lead somewhere else."""
    for path in _list_typed(environ):
        if _is_same_place(path, sys.executable):
            return _name_plainly(path)
    return _name_plainly(sys.executable)


def _list_typed(environ: Mapping[str, str]) -> Iterator[str]:
    try:
        directory = find_directory(environ)
    except OSError:
        return
    # `/srv/venv/bin/prefork`: the interpreter lies beside the script. `venv/bin/python -m prefork`: as it was typed.
    beside = os.path.join(os.path.dirname(sys.argv[0]), os.path.basename(sys.executable))
    for typed in (beside, sys.orig_argv[0]):
        if "/" in typed:
            yield os.path.join(directory, typed)


def _is_same_place(path: str, other: str) -> bool:
    # The directories, not the files: a Python in an environment is a link to one that knows nothing of it.
    return os.path.exists(path) and (
        os.path.realpath(os.path.dirname(path)) == os.path.realpath(os.path.dirname(other))
    )


def _name_plainly(path: str) -> str:
    """`python` instead of `python3.11` in an environment, because the next one may have another version."""
    plain = os.path.join(os.path.dirname(path), "python")
    if sys.prefix == sys.base_prefix:
        return path
    return plain if os.path.exists(plain) and os.path.samefile(plain, path) else path
