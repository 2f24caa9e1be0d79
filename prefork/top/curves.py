"""Curves and bars of block characters, and what stands for them on a terminal that has no such characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Glyphs(NamedTuple):
    """The characters that drawings are made of; each is one column wide."""

    levels: str
    """From nothing to the most."""
    full: str
    empty: str
    marker: str
    """Stands before the selected row."""
    cut: str
    """The last character of a text that was cut."""


BLOCKS = Glyphs("▁▂▃▄▅▆▇█", "█", "░", "▶", "…")
ASCII = Glyphs("_.:-=+*#", "#", ".", ">", "~")


def choose_glyphs(encoding: str) -> Glyphs:
    """Those that the output's encoding has."""
    try:
        "".join(BLOCKS).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def draw_curve(values: Sequence[float | None], width: int, glyphs: Glyphs) -> str:
    """The last `width` values, the newest at the right; the highest of them reaches the top. A gap for None."""
    shown = list(values)[-width:] if width > 0 else []
    highest = max((value for value in shown if value is not None), default=0.0)
    top = len(glyphs.levels) - 1
    drawn = "".join(
        " " if value is None else glyphs.levels[round(value / highest * top) if highest > 0 else 0]
        for value in shown
    )
    return drawn.rjust(max(0, width))


def draw_bar(share: float, width: int, glyphs: Glyphs) -> str:
    """So much of it full; at 0 none of it, and all of it only at 1."""
    full = min(width, int(max(0.0, share) * width))
    return glyphs.full * full + glyphs.empty * (width - full)
