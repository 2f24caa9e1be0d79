"""What does a service manager need to be told, and when? The words are sd_notify(3)'s.

Pure: facts and the time come in, notices go out, and each counts as told when the next one is asked for. So one that
could not be delivered is due again, and one that has become wrong meanwhile is never sent late.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from prefork.core.states import ServiceState

STATUS_S = 5.0
"""The figures are told so often at most, and only when they differ."""
CHANGED_S = 1.0
"""So long after a change its figures are looked at: one change rarely comes alone."""
EXTEND_EVERY_S = 5.0
"""Whoever boots, reloads or stops asks for more time at once, as nobody knows how little was granted, and so often."""
EXTEND_BY_S = 20.0
"""So much more. The manager never shortens what it had granted."""


class Facts(NamedTuple):
    """The service, now."""

    state: ServiceState
    is_ready: bool = False
    """Shall it get traffic?"""
    is_reloading: bool = False
    """Is a reload under way, or waiting for its turn?"""
    ready: int = 0
    workers: int = 0
    """All that are left, also those that drain."""
    wanted: int = 0
    patience_s: float = 0.0
    """How long what it is doing may take: starting, reloading or stopping."""


class Figures(NamedTuple):
    """What the workers do, now."""

    requests: int
    """Since the start."""
    in_flight: int


class Kind(Enum):
    """What a notice is about."""

    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"
    WATCHDOG = "watchdog"
    EXTEND = "extend"
    STATUS = "status"


class Notice(NamedTuple):
    """One datagram."""

    kind: Kind
    text: str


class Notices:
    """What one manager has been told. `watchdog_s` is how long it waits for a sign of life, 0.0 if it does not."""

    def __init__(self, now: float, pid: int, watchdog_s: float) -> None:
        self._pid = pid
        self._beat_s = watchdog_s / 2
        self._beat_due = now
        self._was_asked = False
        self._told: Kind | None = None
        """READY, RELOADING or STOPPING."""
        self._told_at = now
        self._extend_due = now
        self._status = ""
        self._status_due = now
        self._counted = (now, 0)
        """When requests were counted last, and how many they were."""

    def note_reload(self) -> None:
        """A reload was asked for. It may be refused at once: the manager waits for its end all the same."""
        self._was_asked = True

    def wants_figures(self, now: float) -> bool:
        """Will they be told if they are given?"""
        return self._status_due <= now

    def list_due(self, facts: Facts, now: float, figures: Figures | None = None) -> Iterator[Notice]:
        """All that there is to tell, in order. Whoever cannot deliver one does not ask for the next."""
        while (change := self._find_change(facts, now)) is not None:
            yield change
            self._told, self._told_at, self._was_asked = change.kind, now, False
            self._extend_due = now
            self._status_due = now if change.kind is Kind.STOPPING else now + CHANGED_S
        if self._beat_s and self._beat_due <= now:
            yield Notice(Kind.WATCHDOG, "WATCHDOG=1")
            self._beat_due = now + self._beat_s
        if self._may_extend(facts, now) and self._extend_due <= now:
            yield Notice(Kind.EXTEND, f"EXTEND_TIMEOUT_USEC={EXTEND_BY_S * 1e6:.0f}")
            self._extend_due = now + EXTEND_EVERY_S
        if figures is not None and self._status_due <= now:
            status = self._describe(facts, figures, now)
            if status != self._status:
                yield Notice(Kind.STATUS, f"STATUS={status}")
            self._status, self._status_due = status, now + STATUS_S
            self._counted = (now, figures.requests)

    def next_deadline(self, facts: Facts, now: float) -> float:
        """When time alone makes something due."""
        deadline = self._status_due
        if self._beat_s:
            deadline = min(deadline, self._beat_due)
        if self._may_extend(facts, now):
            deadline = min(deadline, self._extend_due)
        return deadline

    def _find_change(self, facts: Facts, now: float) -> Notice | None:
        if facts.state is ServiceState.STOPPING:
            return None if self._told is Kind.STOPPING else Notice(Kind.STOPPING, "STOPPING=1")
        if self._told is None:
            # A reload that is asked for before is part of the start.
            return Notice(Kind.READY, f"READY=1\nMAINPID={self._pid}") if facts.is_ready else None
        if self._was_asked or (facts.is_reloading and self._told is Kind.READY):
            return Notice(Kind.RELOADING, f"RELOADING=1\nMONOTONIC_USEC={now * 1e6:.0f}")
        if self._told is Kind.RELOADING and not facts.is_reloading:
            return Notice(Kind.READY, "READY=1")
        return None

    def _may_extend(self, facts: Facts, now: float) -> bool:
        return self._told is not Kind.READY and now - self._told_at <= facts.patience_s

    def _describe(self, facts: Facts, figures: Figures, now: float) -> str:
        if facts.state is ServiceState.STOPPING:
            return f"stopping: {facts.workers} workers left, {figures.in_flight} requests in flight"
        doing = "" if facts.state is ServiceState.SERVING else f"{facts.state.value}: "
        ready = f"{doing}{facts.ready} of {facts.wanted} workers ready"
        if self._told is None:
            return ready
        since, before = self._counted
        # Of less than a second it would say nothing.
        rate = round((figures.requests - before) / max(1.0, now - since))
        return f"{ready}, {rate} requests/s, {figures.in_flight} in flight"
