"""A file that has grown makes room under its name: FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on.

Whoever has it open goes on writing to it under its new name, until they open the old name anew: no line is lost. Only
renames, which take no time and no space.
"""

from __future__ import annotations

import os
from contextlib import suppress


def rotate(path: str, keep: int) -> None:
    """Rename it and those before it, and forget the one past `keep`. Raises OSError: then `path` is as it was."""
    for number in range(keep - 1, 0, -1):
        with suppress(FileNotFoundError):
            os.replace(f"{path}.{number}", f"{path}.{number + 1}")
    os.replace(path, f"{path}.1")


def take_back(path: str) -> None:
    """Nobody can make a new file under that name: let the newest have it again, if nobody else has it meanwhile."""
    with suppress(OSError):
        os.link(f"{path}.1", path)
        os.unlink(f"{path}.1")


def is_at(path: str, fd: int) -> bool:
    """Does this path lead to what the descriptor does?"""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False


def empty(path: str) -> int:
    """Empty a log and remove those that it was rotated to; returns how many bytes that were. Raises OSError.

    Whoever has it open appends, and so goes on at its new end.
    """
    size_bytes = os.stat(path).st_size
    os.truncate(path, 0)
    for name in list_rotated(path):
        size_bytes += os.stat(name).st_size
        os.unlink(name)
    return size_bytes


def list_rotated(path: str) -> list[str]:
    """Those that are there, the newest first, as far as their numbers have no gap of more than one."""
    found = []
    number, missing = 1, 0
    while missing < 2:
        name = f"{path}.{number}"
        if os.path.lexists(name):
            found.append(name)
            missing = 0
        else:
            missing += 1
        number += 1
    return found
