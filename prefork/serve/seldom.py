"""Of what happens again and again the log has one line in a while, with how often it happened.

For lines about others: clients and proxies send what they like, as often as they like.
"""

from __future__ import annotations

import math


class Seldom:
    """One kind of line, at most once in `every_s`."""

    __slots__ = ("_at", "_every_s", "_unsaid")

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._at = -math.inf
        self._unsaid = 0

    def count(self, now: float) -> int:
        """It has happened once more: how often since the last line if there may be one now, 0 if not."""
        self._unsaid += 1
        if now - self._at < self._every_s:
            return 0
        times, self._at, self._unsaid = self._unsaid, now, 0
        return times
