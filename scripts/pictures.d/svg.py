"""What stood on a terminal, with its colours → a picture for the documentation.

It loads nothing: the font is the reader's own, so every word has its own place, whatever that font's width. Block
characters are drawn as rectangles, because fonts leave gaps between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"
BACKGROUND, FOREGROUND = (17, 22, 29), (205, 214, 224)
NORMAL = (
    (30, 36, 44), (240, 98, 98), (110, 200, 120), (229, 192, 88),
    (97, 160, 240), (198, 140, 230), (86, 200, 210), FOREGROUND,
)  # fmt: skip
BRIGHT = (
    (110, 118, 128), (255, 123, 114), (126, 231, 135), (245, 210, 110),
    (121, 184, 255), (215, 160, 245), (110, 225, 235), (255, 255, 255),
)  # fmt: skip
THEME = TerminalTheme(BACKGROUND, FOREGROUND, list(NORMAL), list(BRIGHT))
CELL_WIDTH, CELL_HEIGHT, BASELINE, FONT_SIZE = 8.4, 18, 13, 14
MARGIN = 12
EIGHTHS = "▁▂▃▄▅▆▇█"
SHADE = "░"
DIM = 0.55


class Run(NamedTuple):
    """Characters side by side that look the same."""

    row: int
    column: int
    text: str
    style: Style


def draw(title: str, captured: str, width: int) -> str:
    """The picture of lines of which none is wider than `width`."""
    lines = captured.rstrip().splitlines()
    runs = list(list_runs(captured.rstrip()))
    wide, high = round(width * CELL_WIDTH + 2 * MARGIN), round(len(lines) * CELL_HEIGHT + 2 * MARGIN)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" viewBox="0 0 {wide} {high}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="100%" height="100%" rx="8" fill="{show_color(BACKGROUND)}"/>',
            f'<g transform="translate({MARGIN} {MARGIN})" font-family="{FONTS}" font-size="{FONT_SIZE}">',
            *(part for run in runs for part in draw_run(run)),
            "</g>",
            "</svg>",
            "",
        ]
    )


def list_runs(captured: str) -> Iterator[Run]:
    """Line by line; what a line does not say of its looks it has from the one before."""
    console = Console(color_system="truecolor", force_terminal=True)
    for row, line in enumerate(Text.from_ansi(captured).split("\n")):
        column = 0
        for segment in line.render(console):
            style = segment.style if segment.style is not None else Style.null()
            yield Run(row, column, segment.text, style)
            column += cell_len(segment.text)


def draw_run(run: Run) -> Iterator[str]:
    """What is behind it, then its words and blocks."""
    front, back = run.style.color, run.style.bgcolor
    colors: list[tuple[int, int, int] | None] = [
        front.get_truecolor(THEME) if front is not None else Color.default().get_truecolor(THEME),
        back.get_truecolor(THEME, foreground=False) if back is not None else None,
    ]
    if run.style.reverse:
        colors = [colors[1] or BACKGROUND, colors[0]]
    fill = show_color(colors[0] or FOREGROUND)
    if colors[1] is not None:
        yield rectangle(run.column, run.row, cell_len(run.text), show_color(colors[1]))
    for found in re.finditer(
        rf"[{EIGHTHS}{SHADE}]+|[^\s{EIGHTHS}{SHADE}]+(?: [^\s{EIGHTHS}{SHADE}]+)*", run.text
    ):
        column = run.column + cell_len(run.text[: found.start()])
        if found[0][0] in EIGHTHS + SHADE:
            yield from draw_blocks(run.row, column, found[0], fill)
        else:
            yield draw_words(run, column, found[0], fill)


def draw_words(run: Run, column: int, words: str, fill: str) -> str:
    looks = [f'fill="{fill}"']
    if run.style.bold:
        looks.append('font-weight="bold"')
    if run.style.dim:
        looks.append(f'opacity="{DIM}"')
    x, y = column * CELL_WIDTH, run.row * CELL_HEIGHT + BASELINE
    length = cell_len(words) * CELL_WIDTH
    place = f'x="{x:g}" y="{y:g}" textLength="{length:.4g}" lengthAdjust="spacingAndGlyphs"'
    return f"<text {place} {' '.join(looks)}>{escape(words)}</text>"


def draw_blocks(row: int, column: int, blocks: str, fill: str) -> Iterator[str]:
    for found in re.finditer(r"(.)\1*", blocks):
        start, length = column + found.start(), len(found[0])
        if found[1] == SHADE:
            yield rectangle(start, row, length, fill, opacity=0.25)
        else:
            yield rectangle(start, row, length, fill, share=(EIGHTHS.index(found[1]) + 1) / 8)


def rectangle(  # a rectangle has so many sides
    column: int, row: int, columns: int, fill: str, *, share: float = 1.0, opacity: float = 1.0
) -> str:
    """Stands at the foot of its line, so high as its share of it."""
    height = CELL_HEIGHT * share
    y = row * CELL_HEIGHT + CELL_HEIGHT - height
    shown = f' opacity="{opacity:g}"' if opacity < 1 else ""
    return (
        f'<rect x="{column * CELL_WIDTH:g}" y="{y:g}" width="{columns * CELL_WIDTH:g}" height="{height:g}" '
        f'fill="{fill}"{shown}/>'
    )


def show_color(color: tuple[int, int, int]) -> str:
    """As SVG has it."""
    return "#{:02x}{:02x}{:02x}".format(*color)
