"""The last entries of a log, read from its end: a large file costs no more than a small one.

Goes on in the files that it was rotated to (FILE.1, FILE.2, …) where it does not hold enough.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from prefork.cli.log_entries import Entry, Wanted, group_backward, parse_line
from prefork.system.rotation import list_rotated

BLOCK_BYTES = 1 << 16
SEARCH_BYTES = 256 << 20
"""What is looked through for entries that are rare."""
LINE_BYTES = 8 << 20
"""A line that is longer is shown from somewhere in its middle on."""


def read_last(path: str, count: int, wanted: Wanted, end: int | None = None) -> list[Entry]:
    """The last `count` entries that are wanted, oldest first; of the file itself only what comes before `end`.
    Raises OSError for the file itself.
    """
    found: list[Entry] = []
    if count <= 0:
        return found
    budget = SEARCH_BYTES
    for number, each in enumerate([path, *list_rotated(path)]):
        try:
            with open(each, "rb", buffering=0) as file:  # noqa: PTH123  # pathlib is not worth importing for this
                size = os.fstat(file.fileno()).st_size
                first = size if number or end is None else min(size, end)
                for entry in group_backward(_read_lines_backward(file.fileno(), first, budget)):
                    if wanted(entry):
                        found.append(entry)
                        if len(found) == count:
                            return found[::-1]
                budget -= first
        except OSError:
            if not number:
                raise
        if budget <= 0:
            break
    return found[::-1]


def _read_lines_backward(fd: int, end: int, budget: int) -> Iterator[bytes]:
    """Whole lines before `end`, the last first; a last one without an end is a line too."""
    rest: list[bytes] = []
    """The pieces of the line whose beginning has not been found, the last piece first."""
    at, stop = end, max(0, end - budget)
    is_first = True
    while at > stop:
        size = min(BLOCK_BYTES, at - stop)
        at -= size
        block = os.pread(fd, size, at)
        head, *lines = block.split(b"\n")
        if lines:
            rest.append(lines.pop())
            whole = b"".join(rest[::-1])
            if whole or not is_first:
                yield whole
            is_first = False
            yield from reversed(lines)
            rest = [head]
        else:
            rest.append(head)
            if sum(map(len, rest)) > LINE_BYTES:
                rest = [b"".join(rest[::-1])[-LINE_BYTES:]]
    whole = b"".join(rest[::-1])
    if whole and (stop == 0 or parse_line(whole) is not None):
        yield whole
