"""Bytecode that the import system would take for that of a file which has changed since.

A .pyc holds the whole second of its source's time stamp, and the size. A source that is saved twice within a second,
imported in between, and as long as before would run as it was, until it is saved again; see PEP 3147 and
`importlib._bootstrap_external`. A person at an editor does that: one digit, save, look, another digit, save.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from contextlib import suppress

HEADER_BYTES = 16


def remove_stale_bytecode(paths: Iterable[str]) -> None:
    """Remove the cached bytecode of each source that is older than the source and does not look like it."""
    for path in paths:
        if path.endswith(".py"):
            with suppress(
                OSError, NotImplementedError
            ):  # there is none, it is not ours, or none is ever cached
                _remove_if_stale(path, importlib.util.cache_from_source(path))


def _remove_if_stale(path: str, cached: str) -> None:
    source = os.stat(path)
    if os.stat(cached).st_mtime_ns > source.st_mtime_ns:
        return
    with open(cached, "rb") as file:
        header = file.read(HEADER_BYTES)
    flags, mtime, size = (int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12))
    looks_fresh = (mtime, size) == (int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF)
    if flags == 0 and looks_fresh:
        os.unlink(cached)
