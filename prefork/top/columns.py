"""The table of workers: which columns there are, which of them a narrow terminal shows, what stands in them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from prefork.top.curves import Glyphs
from prefork.top.numbers import UNKNOWN, show_age, show_count, show_percent, show_rate, show_size, show_time
from prefork.top.rates import WorkerRates

WIDE_GAP, NARROW_GAP = 2, 1
MARGIN = 2
"""Left of the table: the selection's marker, and a space."""
NARROWEST_WHY, WIDEST_WHY = 12, 60
BUSY_PERCENT = 90.0
"""From here on a worker is said to be busy."""


class Cell(NamedTuple):
    """A text, and how it is drawn; never what it means, which the text says by itself."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """One column. The higher its rank, the longer it stays when the terminal gets narrower."""

    title: str
    rank: int
    show: Callable[[WorkerRates], Cell]
    is_left: bool = False
    least: int = 0
    """Its width does not jump with every number below it."""


class Table(NamedTuple):
    """Columns with their widths, the space between two of them, and the cells of each row."""

    gap: int
    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    rows: tuple[tuple[Cell, ...], ...]


def lay_out(workers: Sequence[WorkerRates], width: int, glyphs: Glyphs) -> Table:
    """As many columns as fit; the last one is cut to what is left."""
    cells = {column: [column.show(worker) for worker in workers] for column in COLUMNS}
    widths = {
        column: max(column.least, len(column.title), *(cell_len(cell.text) for cell in cells[column]), 0)
        for column in COLUMNS
    }
    widths[WHY] = min(widths[WHY], WIDEST_WHY)
    gap = WIDE_GAP if len(_choose(widths, width - MARGIN, WIDE_GAP)) == len(COLUMNS) else NARROW_GAP
    shown = _choose(widths, width - MARGIN, gap)
    if WHY in shown:
        others = sum(widths[column] + gap for column in shown if column is not WHY)
        widths[WHY] = min(widths[WHY], width - MARGIN - others)
    rows = tuple(
        tuple(
            cells[column][index]._replace(text=cut(cells[column][index].text, widths[column], glyphs))
            for column in shown
        )
        for index in range(len(workers))
    )
    return Table(gap, tuple(shown), tuple(widths[column] for column in shown), rows)


def cut(text: str, width: int, glyphs: Glyphs) -> str:
    """At most so many columns of a terminal, a sign where something is missing, and nothing that moves the cursor: a
    reason may be in the app's own words.
    """
    text = "".join(character if character.isprintable() else "?" for character in text)
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1) + glyphs.cut if width > 0 else ""


def _choose(widths: dict[Column, int], width: int, gap: int) -> list[Column]:
    left, chosen = width + gap, set()
    for column in sorted(COLUMNS, key=lambda column: -column.rank):
        needed = (NARROWEST_WHY if column is WHY else widths[column]) + gap
        if needed > left:
            break  # what ranks lower does not take its place: columns go one after the other
        left -= needed
        chosen.add(column)
    return [column for column in COLUMNS if column in chosen]


def _show_state(worker: WorkerRates) -> Cell:
    styles = {"ready": "green", "booting": "cyan", "draining": "yellow"}
    return Cell(worker.state, styles.get(worker.state, "bold red"))


def _show_busy(worker: WorkerRates) -> Cell:
    is_busy = worker.busy_percent is not None and worker.busy_percent >= BUSY_PERCENT
    return Cell(show_percent(worker.busy_percent), "bold yellow" if is_busy else "")


def _show_errors(worker: WorkerRates) -> Cell:
    """All since it started; `+` where some are new."""
    if not worker.pid:
        return Cell(UNKNOWN)
    is_failing = bool(worker.server_errors_per_s)
    return Cell(
        f"{'+' if is_failing else ''}{show_count(worker.server_errors)}", "bold red" if is_failing else ""
    )


def _if_alive(show: Callable[[WorkerRates], str]) -> Callable[[WorkerRates], Cell]:
    return lambda worker: Cell(show(worker) if worker.pid else UNKNOWN)


WHY = Column("REASON", 1, lambda worker: Cell(worker.why), is_left=True)
"""Why it goes, or why its last predecessor went."""

COLUMNS = (
    Column("SLOT", 100, lambda worker: Cell(str(worker.slot))),
    Column("PID", 90, _if_alive(lambda worker: str(worker.pid)), least=6),
    Column("GEN", 30, _if_alive(lambda worker: str(worker.gen))),
    Column("STATE", 95, _show_state, is_left=True, least=8),
    Column("BUSY", 70, _show_busy),
    Column("REQ/S", 85, lambda worker: Cell(show_rate(worker.requests_per_s))),
    Column("FLIGHT", 50, _if_alive(lambda worker: show_count(worker.in_flight))),
    Column("CONN", 45, _if_alive(lambda worker: show_count(worker.connections))),
    Column("P50", 20, lambda worker: Cell(show_time(worker.p50_s)), least=5),
    Column("P99", 80, lambda worker: Cell(show_time(worker.p99_s)), least=5),
    Column("5XX", 60, _show_errors),
    Column("CPU", 55, lambda worker: Cell(show_percent(worker.cpu_percent)), least=4),
    Column("PSS", 65, lambda worker: Cell(show_size(worker.pss_bytes)), least=5),
    Column("UP", 40, _if_alive(lambda worker: show_age(worker.uptime_s)), least=5),
    Column("RST", 35, lambda worker: Cell(str(worker.restarts))),
    WHY,
)
