"""The whole screen as lines: never more of them than the terminal has, and none wider than it. Pure.

From the top: the service, the workers, the last events, and in the last line what can be done. When there is little
room the workers scroll, the events go first, then the curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import localtime, strftime
from typing import NamedTuple

from rich.text import Text

from prefork.top.columns import MARGIN, Cell, Table, cut, lay_out
from prefork.top.curves import Glyphs
from prefork.top.header import LABEL, draw_header, draw_line, flow
from prefork.top.rates import WorkerRates
from prefork.top.seen import Event, Row, Seen, list_rows
from prefork.top.watching import Watching, find_selected, pick_shown

HEADING = "reverse"
SELECTED = "bold"
CURVES_FROM = 20
"""Lines that a terminal needs to have curves."""
EVENTS_AT_LEAST = 3
ROWS_BEFORE_EVENTS = 6
"""When there is less room than for these, there are no events."""

KEYS = (
    ("q", "quit"),
    ("r", "reload"),
    ("+ -", "scale"),
    ("k", "restart worker"),
    ("l", "logs"),
    ("?", "help"),
)
KEYS_OF_MANY = (("enter", "one service"), ("esc", "all"))

HELP = """\
up, down, page up, page down, home, end   select a worker
r       reload the service: new code, one worker after the other (asks)
+ -     one worker more, one less
k       restart the selected worker, its successor is ready first (asks)
l       the log of the selected worker; q or Ctrl-C leads back
enter   show one service of several; esc shows all again
q       quit; Ctrl-Z stops this program, and `fg` brings it back

Rates, percentiles and percentages are about the last interval; percentiles
come from a histogram, and are right within a factor of two. BUSY is the CPU
time of a worker's serving thread, CPU that of the process, 100% is one core.
PSS is memory, with a fair part of what is shared. 5XX counts since the worker
started, + says that some are new. RST is how often its slot was filled anew.

any key leads back
""".splitlines()


class Size(NamedTuple):
    """Of a terminal."""

    width: int
    height: int


def draw_screen(
    services: Sequence[Seen], watching: Watching, size: Size, glyphs: Glyphs, now: float
) -> list[Text]:
    """What stands on it: exactly as many lines as it has."""
    shown = pick_shown(watching, services)
    header = _draw_head(shown, size, glyphs)
    room = max(0, size.height - len(header) - 1)
    if watching.is_helping:
        body = [Text(line) for line in HELP[:room]]
    else:
        body = _draw_body(shown, watching, Size(size.width, room), glyphs)
    lines = [*header, *body][: max(0, size.height - 1)]
    lines += [Text("")] * (size.height - 1 - len(lines))
    lines.append(_draw_foot(watching, len(services) > 1, size.width, glyphs, now))
    for line in lines:
        line.truncate(size.width)
    return lines


def draw_page(services: Sequence[Seen], width: int, glyphs: Glyphs) -> list[Text]:
    """All there is to say at one moment, as long as it gets: for `--once`."""
    lines = _draw_head(services, Size(width, 0), glyphs)
    rows = list_rows(services)
    table = _lay_out(rows, width, glyphs)
    lines += [_draw_heading(table, ""), *_draw_rows(rows, table, services, width, glyphs)]
    for line in lines:
        line.truncate(width)
        line.rstrip()
    return lines


def count_visible_rows(services: Sequence[Seen], watching: Watching, size: Size, glyphs: Glyphs) -> int:
    """How far a page goes."""
    shown = pick_shown(watching, services)
    room = size.height - len(_draw_head(shown, size, glyphs)) - 1
    return max(1, _share_room(room, len(list_rows(shown)), bool(_collect_events(shown)))[0])


def _draw_head(shown: Sequence[Seen], size: Size, glyphs: Glyphs) -> list[Text]:
    if len(shown) == 1:
        return draw_header(shown[0], size.width, glyphs, with_curves=size.height >= CURVES_FROM)
    return []


def _draw_body(shown: Sequence[Seen], watching: Watching, size: Size, glyphs: Glyphs) -> list[Text]:
    rows = list_rows(shown)
    events = _collect_events(shown)
    for_rows, for_events = _share_room(size.height, len(rows), bool(events))
    selected = find_selected(watching, rows)
    first = _find_first(rows, selected, for_rows)
    visible = rows[first : first + for_rows]
    # All rows take part in the widths: scrolling does not move the columns.
    table = _lay_out(rows, size.width, glyphs)
    scrolled = f"{first + 1}-{first + len(visible)} of {len(rows)}" if len(visible) < len(rows) else ""
    drawn = _draw_rows(rows, table, shown, size.width, glyphs)[first : first + for_rows]
    for row, line in zip(visible, drawn, strict=True):
        if selected is not None and row.key == selected.key:
            _mark(line, glyphs)
    lines = [_draw_heading(table, scrolled, size.width), *drawn]
    if events and for_events > 0:
        lines.append(Text("events", "bold"))
        lines += [_draw_event(event, size.width, glyphs) for event in events[-for_events:]]
    return lines


def _share_room(room: int, rows: int, has_events: bool) -> tuple[int, int]:  # noqa: FBT001  # both callers say it
    """Lines for rows and for events, below a heading each."""
    room -= 1
    if not has_events or room - EVENTS_AT_LEAST - 1 < min(rows, ROWS_BEFORE_EVENTS):
        return max(0, room), 0
    for_rows = min(rows, room - EVENTS_AT_LEAST - 1)
    return for_rows, room - for_rows - 1


def _find_first(rows: Sequence[Row], selected: Row | None, room: int) -> int:
    """The first row that is shown, so that the selected one is in the middle as far as there are others."""
    if selected is None or len(rows) <= room:
        return 0
    return min(max(0, rows.index(selected) - room // 2), len(rows) - room)


def _lay_out(rows: Sequence[Row], width: int, glyphs: Glyphs) -> Table:
    return lay_out([row.worker for row in rows if row.worker is not None], width, glyphs)


def _draw_heading(table: Table, scrolled: str, width: int = 0) -> Text:
    titles = [
        column.title.ljust(wide) if column.is_left else column.title.rjust(wide)
        for column, wide in zip(table.columns, table.widths, strict=True)
    ]
    line = " " * MARGIN + (" " * table.gap).join(titles)
    if scrolled:
        line = line[: max(0, width - len(scrolled) - 1)].ljust(width - len(scrolled)) + scrolled
    return Text(line.ljust(width), HEADING)


def _draw_rows(
    rows: Sequence[Row], table: Table, shown: Sequence[Seen], width: int, glyphs: Glyphs
) -> list[Text]:
    by_name = {seen.name: seen for seen in shown}
    cells = iter(table.rows)
    drawn = []
    for row in rows:
        line = Text(" " * MARGIN)
        if row.worker is None:
            line.append_text(draw_line(by_name[row.service], width - MARGIN, glyphs))
        else:
            line.append_text(_draw_worker(next(cells), table))
            if not row.worker.pid:
                _explain(line, row.worker, table, width, glyphs)
        drawn.append(line)
    return drawn


def _draw_worker(cells: Sequence[Cell], table: Table) -> Text:
    line = Text()
    for index, (cell, column, wide) in enumerate(zip(cells, table.columns, table.widths, strict=True)):
        text = Text(cell.text, cell.style)
        text.align("left" if column.is_left else "right", wide)
        line.append(" " * table.gap if index else "").append_text(text)
    return line


def _explain(line: Text, worker: WorkerRates, table: Table, width: int, glyphs: Glyphs) -> None:
    """A slot without a worker has no numbers: there is room to say why it has none."""
    until = MARGIN
    for column, wide in zip(table.columns, table.widths, strict=True):
        until += wide + table.gap
        if column.title == "STATE":
            line.truncate(until, pad=True)
            line.append(cut(worker.why, max(0, width - until), glyphs))
            return


def _mark(line: Text, glyphs: Glyphs) -> None:
    line.plain = glyphs.marker + line.plain[1:]
    line.stylize(SELECTED)


def _draw_event(event: Event, width: int, glyphs: Glyphs) -> Text:
    clock = strftime("%H:%M:%S", localtime(event.at))
    text = cut(event.text, max(0, width - len(clock) - 1), glyphs)
    return Text.assemble((clock, LABEL), " ", (text, "yellow" if event.is_bad else ""))


def _collect_events(shown: Sequence[Seen]) -> list[Event]:
    """Of all that are shown, in order; each says whose it is where there are several."""
    named = [(event, f"{seen.name}: " if len(shown) > 1 else "") for seen in shown for event in seen.events]
    named.sort(key=lambda pair: pair[0].at)
    return [event._replace(text=name + event.text) for event, name in named]


def _draw_foot(watching: Watching, is_many: bool, width: int, glyphs: Glyphs, now: float) -> Text:  # noqa: FBT001
    if watching.question is not None:
        answer = " y/n"
        return Text(cut(watching.question.text, max(0, width - len(answer)), glyphs) + answer, "bold reverse")
    keys = [*KEYS, *(KEYS_OF_MANY if is_many else ())]
    line = flow([Text.assemble((key, "bold"), f" {what}") for key, what in keys], width)[0]
    if watching.notice and now < watching.notice_until:
        notice = Text(cut(watching.notice, width, glyphs), "bold")
        room = width - line.cell_len - notice.cell_len
        return line.append(" " * room).append_text(notice) if room > 2 else notice
    return line
