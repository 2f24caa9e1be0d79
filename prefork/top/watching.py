"""What the one who watches has chosen, and what a key does with it. Pure: a key comes in, an order may come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from prefork.top.rates import WorkerRates
from prefork.top.seen import Row, Seen, list_rows

ORDERS = frozenset("r+=-kl")
NOTICE_S = 8.0
"""How long an answer stands in the last line."""


class Reload(NamedTuple):
    """Of a service."""

    service: str


class Scale(NamedTuple):
    """By one, up or down."""

    service: str
    by: int


class Restart(NamedTuple):
    """A worker: its successor is ready before it drains."""

    service: str
    slot: int
    pid: int


class ShowLogs(NamedTuple):
    """Of the worker in a slot."""

    service: str
    slot: int


class Quit(NamedTuple):
    """Enough seen."""


Order = Reload | Scale | Restart | ShowLogs | Quit


class Question(NamedTuple):
    """What is asked before `order` is carried out."""

    text: str
    order: Order


@dataclass(frozen=True, slots=True)
class Watching:
    """What is chosen."""

    focus: str = ""
    """The one service that is shown; empty for all of them."""
    selected: tuple[str, int, int] | None = None
    question: Question | None = None
    is_helping: bool = False
    notice: str = ""
    notice_until: float = 0.0

    def note(self, text: str, now: float) -> Watching:
        """Say something, for a while."""
        return replace(self, notice=text, notice_until=now + NOTICE_S)


def press(watching: Watching, key: str, services: Sequence[Seen], page: int) -> tuple[Watching, Order | None]:
    """What is chosen then, and what is to be done. `page` is how many rows the screen shows."""
    if watching.question is not None:
        answered = replace(watching, question=None)
        return answered, watching.question.order if key in ("y", "Y") else None
    if watching.is_helping:
        return replace(watching, is_helping=False), Quit() if key == "q" else None
    if key == "q":
        return watching, Quit()
    watching = replace(watching, notice="")
    rows = list_rows(pick_shown(watching, services))
    row = find_selected(watching, rows)
    if row is not None and key in ORDERS:
        return _give_order(watching, key, row)
    match key:
        case "?" | "h":
            watching = replace(watching, is_helping=True)
        case "up" | "down" | "pageup" | "pagedown" | "home" | "end":
            watching = _move(watching, key, rows, page)
        case "enter" if row is not None and len(services) > 1:
            watching = replace(watching, focus=row.service)
        case "escape":
            watching = replace(watching, focus="")
        case _:
            pass
    return watching, None


def pick_shown(watching: Watching, services: Sequence[Seen]) -> list[Seen]:
    """The service in focus, else all."""
    return [seen for seen in services if seen.name == watching.focus] or list(services)


def find_selected(watching: Watching, rows: Sequence[Row]) -> Row | None:
    """The row that is selected; when its worker is gone, whoever has its slot; else the first row."""
    selected = watching.selected
    if selected is None:
        return next(iter(rows), None)
    same = [row for row in rows if row.key == selected]
    same_slot = [row for row in rows if row.key[:2] == selected[:2]]
    same_service = [row for row in rows if row.service == selected[0]]
    return next(iter((*same, *same_slot, *same_service, *rows)), None)


def _move(watching: Watching, key: str, rows: Sequence[Row], page: int) -> Watching:
    row = find_selected(watching, rows)
    if row is None:
        return watching
    step = {
        "up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -len(rows), "end": len(rows)
    }  # fmt: skip
    index = min(max(0, rows.index(row) + step[key]), len(rows) - 1)
    return replace(watching, selected=rows[index].key)


def _give_order(watching: Watching, key: str, row: Row) -> tuple[Watching, Order | None]:
    question: Question | None = None
    order: Order | None = None
    match key, row:
        case "r", Row(service=name):
            question = Question(f"reload {name}?", Reload(name))
        case "+" | "=", Row(service=name):
            order = Scale(name, 1)
        case "-", Row(service=name):
            order = Scale(name, -1)
        case "k", Row(service=name, worker=WorkerRates(slot=slot, pid=pid)) if pid:
            # Whoever answers late may mean somebody else: the order names the process that was asked about.
            text = f"restart the worker of slot {slot}, pid {pid}? (its successor is ready first)"
            question = Question(text, Restart(name, slot, pid))
        case "l", Row(service=name, worker=WorkerRates(slot=slot)):
            order = ShowLogs(name, slot)
        case _:
            pass
    return replace(watching, question=question), order
