"""The service's books: which rows of the scoreboard are in use, and what the workers that are gone have done.

A row is opened before its worker is forked and closed when it is reaped: what it counted is folded into the sum, and
the row is empty at the same moment, so that whoever adds up the two never counts anything twice or not at all.
"""

from __future__ import annotations

from prefork.core.figures import Record, Summary, Totals, fold, summarise
from prefork.system.scoreboard import Scoreboard


class Ledger:
    """The master's. Its thread alone opens, closes and reads."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self.gone = Totals()
        """What the workers that are gone have done."""
        self._scoreboard = scoreboard
        self._open: set[int] = set()

    def open_row(self, row: int) -> None:
        """It gets a writer."""
        self._scoreboard.clear_row(row)
        self._open.add(row)
        self._tell_used()

    def close_row(self, row: int) -> None:
        """Its writer is gone. Twice is fine."""
        if row in self._open:
            self.gone = fold(self.gone, self._scoreboard.read(row))
            self._scoreboard.clear_row(row)
            self._open.discard(row)
            self._tell_used()

    def read(self) -> dict[int, Record]:
        """What each living worker says, by its row."""
        return {row: self._scoreboard.read(row) for row in sorted(self._open)}

    def summarise(self) -> Summary:
        """The service, from its start until now."""
        return summarise(self.read().values(), self.gone)

    def _tell_used(self) -> None:
        self._scoreboard.rows_used = max(self._open, default=-1) + 1
