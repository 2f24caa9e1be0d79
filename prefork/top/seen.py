"""What the screen is drawn from: the services that are looked at, as they were seen last. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prefork.top.rates import ServiceRates, WorkerRates


class Event(NamedTuple):
    """Something that happened to a service, in words."""

    at: float
    """Unix seconds."""
    text: str
    is_bad: bool = False
    """A warning or worse; the text says so too."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One service."""

    name: str
    rates: ServiceRates | None = None
    """None before it answered for the first time; else what it said last."""
    trouble: str = ""
    """Why it does not answer now; empty if it does."""
    requests_per_s: Sequence[float | None] = ()
    p99_s: Sequence[float | None] = ()
    events: Sequence[Event] = ()
    """The newest last."""


class Row(NamedTuple):
    """A line of the table: a worker, a slot without one, or (worker None) a service above its workers."""

    service: str
    worker: WorkerRates | None

    @property
    def key(self) -> tuple[str, int, int]:
        """What a selection remembers."""
        return (self.service, *((self.worker.slot, self.worker.serial) if self.worker else (-1, -1)))


def list_rows(services: Sequence[Seen]) -> list[Row]:
    """All of them; a service has a line of its own where there are several."""
    rows = []
    for seen in services:
        if len(services) > 1:
            rows.append(Row(seen.name, None))
        if seen.rates is not None and not seen.trouble:
            rows += [Row(seen.name, worker) for worker in seen.rates.workers]
    return rows
