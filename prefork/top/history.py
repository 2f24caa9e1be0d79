"""The last minutes of a service: looks to compare with, and the curves. Pure but for what it remembers."""

from __future__ import annotations

from collections import deque

from prefork.top.rates import Look, ServiceRates, compare, is_same_run

SHORTEST_BASE_S = 0.9
"""Rates are about at least so long, however often somebody looks: workers publish twice a second."""
KEPT = 600
"""Points of a curve."""


class History:
    """Of one service."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque()
        self._point_at = float("-inf")
        self.requests_per_s: deque[float | None] = deque(maxlen=KEPT)
        self.p99_s: deque[float | None] = deque(maxlen=KEPT)

    def add(self, look: Look) -> ServiceRates:
        """What the service does now. A look at another run of it begins anew; the curves go on."""
        if self._looks and not is_same_run(self._looks[-1].status, look.status):
            self._looks.clear()
        # The youngest that is old enough comes first, or the oldest there is.
        while len(self._looks) > 1 and look.at - self._looks[1].at >= SHORTEST_BASE_S:
            self._looks.popleft()
        rates = compare(self._looks[0] if self._looks else None, look)
        self._looks.append(look)
        if rates.over_s is not None and look.at - self._point_at >= SHORTEST_BASE_S:
            self._point_at = look.at
            self.requests_per_s.append(rates.requests_per_s)
            self.p99_s.append(rates.p99_s)
        return rates

    def note_absence(self) -> None:
        """Nobody answered: a gap in the curves."""
        self._looks.clear()
        self.requests_per_s.append(None)
        self.p99_s.append(None)
