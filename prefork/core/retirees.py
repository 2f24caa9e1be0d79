"""Whose turn is it to be replaced? Workers that asked for it wait here, the longest waiting first.

Pure. One at a time, and whoever asks young waits, lest an app that always asks fork without end.
"""

from __future__ import annotations

from collections.abc import Mapping

from prefork.core.records import Slot, Worker
from prefork.core.states import WorkerState


class Retirees:
    """Those of one fleet."""

    def __init__(self) -> None:
        self._waiting: list[Worker] = []

    def add(self, worker: Worker, reason: str) -> bool:
        """It asks. False if it has asked before, or goes anyway."""
        if worker.retiring or worker.state not in (WorkerState.BOOTING, WorkerState.READY):
            return False
        worker.retiring = reason
        self._waiting.append(worker)
        return True

    def find_next(self, slots: Mapping[int, Slot], now: float) -> Worker | None:
        """Whose successor may be forked."""
        self._waiting = [
            worker for worker in self._waiting if worker.state in (WorkerState.BOOTING, WorkerState.READY)
        ]
        for worker in self._waiting:
            slot = slots.get(worker.slot)
            if slot is not None and not slot.failed and worker.is_settled(now):
                return worker
        return None
