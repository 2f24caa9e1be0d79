"""Tables and quantities for people: aligned plain text that fits 80 columns, colour only on a terminal.

Nothing is said by colour alone: it only repeats what a word says.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from prefork.cli.complaints import wants_color
from prefork.system.log_lines import escape

COLORS = {
    "serving": "32",
    "ready": "32",
    "reloading": "36",
    "starting": "36",
    "booting": "36",
    "degraded": "33",
    "drained": "33",
    "draining": "33",
    "parked": "33",
    "stopping": "33",
    "backoff": "33",
    "failed": "31",
    "killed": "31",
}
_GAP = "  "


def lay_out(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[str] = frozenset()
) -> list[str]:
    """Lines of equal columns; those named in `right` are numbers. A line ends where the terminal does."""
    cells = [[escape(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [head, *cells]) for at in range(len(head))]
    room = max(shutil.get_terminal_size((80, 24)).columns, 60) if sys.stdout.isatty() else 0
    lines = []
    for row in [list(head), *cells]:
        line = ""
        for name, before, cell, width in zip(head, ["", *head[:-1]], row, widths, strict=True):
            # Numbers stand apart by themselves: what is in front of them is shorter than its column.
            gap = " " if name in right and before in right else _GAP if before else ""
            line += gap + (f"{cell:>{width}}" if name in right else f"{cell:<{width}}")
        line = line.rstrip()
        lines.append(line[: room - 1] + "…" if room and len(line) > room else line)
    return lines


def paint(line: str) -> str:
    """Colour the words for states, if a terminal reads this."""
    if not wants_color(sys.stdout, os.environ):
        return line
    for word, color in COLORS.items():
        line = line.replace(f"{_GAP}{word} ", f"{_GAP}\x1b[{color}m{word}\x1b[0m ")
    return line


def show_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[str] = frozenset()
) -> None:
    """Print it."""
    for line in lay_out(head, rows, right=right):
        print(paint(line))


def show_span(seconds: float) -> str:
    """`4s`, `12m`, `5h`, `3d`: as PM2 has it."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def show_size(size: float | None) -> str:
    """`38.2M`, `1.2G`; `-` if unknown."""
    if size is None:
        return "-"
    for unit, step in (("G", 2**30), ("M", 2**20)):
        if size >= step:
            return f"{size / step:.1f}{unit}"
    return f"{size / 1024:.0f}K"


def show_rate(rate: float) -> str:
    """`0`, `3.2`, `812`, `14.2k`."""
    if rate >= 10_000:
        return f"{rate / 1000:.1f}k"
    return f"{rate:.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"


def show_latency(seconds: float) -> str:
    """`-`, `0.41ms`, `12ms`, `1.2s`."""
    if seconds == 0:
        return "-"
    if seconds >= 1:
        return f"{seconds:.1f}s"
    return f"{seconds * 1000:.0f}ms" if seconds >= 0.01 else f"{seconds * 1000:.2f}ms"
