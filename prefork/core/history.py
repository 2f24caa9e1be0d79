"""What has happened to the service so far, in numbers: counted where it is decided, never reset."""

from __future__ import annotations

from prefork.core.reasons import Reason

OK = "ok"


class History:
    """Counters of the service's whole life."""

    __slots__ = ("last_gen", "last_reload", "reloads", "restarts", "rollbacks")

    def __init__(self) -> None:
        self.restarts: dict[Reason, int] = {}
        """Workers that were replaced, apart from reloads."""
        self.reloads = 0
        """That succeeded."""
        self.rollbacks = 0
        """Reloads that began and failed."""
        self.last_gen = 0
        """Of the last reload that ended."""
        self.last_reload = ""
        """Empty before the first, `ok`, or why it failed or was refused."""

    def count_restart(self, reason: Reason) -> None:
        """A worker is replaced, or would be if its slot may fork again."""
        self.restarts[reason] = self.restarts.get(reason, 0) + 1

    def count_reload(self, gen: int) -> None:
        """It is done."""
        self.last_gen = gen
        self.reloads += 1
        self.last_reload = OK

    def note_refusal(self, why: str) -> None:
        """A reload could not even begin."""
        self.last_reload = f"refused: {why}"

    def count_rollback(self, gen: int, why: str) -> None:
        """It failed; everything is as it was."""
        self.last_gen = gen
        self.rollbacks += 1
        self.last_reload = why
