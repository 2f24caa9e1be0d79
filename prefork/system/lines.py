"""Whole lines, and how many of them go out at once.

A pipe takes PIPE_BUF bytes in one piece or nothing, and what several processes write in longer pieces is mixed
(pipe(7)). A file that was opened for appending takes any number: such writes never mix.
"""

from __future__ import annotations

PIPE_BUF_BYTES = 4096


def group_lines(lines: bytes, most_bytes: int = PIPE_BUF_BYTES) -> list[bytes]:
    """As many whole lines together as fit; one that is longer stands alone."""
    groups: list[bytes] = []
    at = 0
    while at < len(lines):
        end = lines.rfind(b"\n", at, at + most_bytes) + 1 or lines.find(b"\n", at) + 1 or len(lines)
        groups.append(lines[at:end])
        at = end
    return groups
