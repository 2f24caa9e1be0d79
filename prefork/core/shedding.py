"""How many connections should a worker ask to leave, because others have far fewer?

Pure. Keep-alive clients stay where they are: after a scale-up, or when a worker was replaced, the old ones keep all of
them. A crowded worker lets some go with `Connection: close` on their next response, a few at each beat, and the gate
sees to it that they come back elsewhere. Between the mark where it begins and the one where it ends lies a wide band,
so that a fleet that is as even as the gate makes it never sheds.
"""

from __future__ import annotations

from prefork.core.gate import STALE_NS, Herd

BEGIN_SHARE = 1.5
"""A worker with so many times the mean begins …"""
BEGIN_MORE = 8
"""… if that is at least so many more: eight connections are not worth anybody's new handshake."""
END_SHARE = 1.1
"""It ends at so many times the mean."""
RATE_SHARE = 0.1
"""At most this share of its connections at one beat."""


class Shedding:
    """One worker's. It remembers whether it has begun."""

    def __init__(self) -> None:
        self._has_begun = False

    def count(self, me: int, herd: Herd, now_ns: int) -> int:
        """How many the worker at place `me` should let go from now to the next beat."""
        loads = [
            load
            for place, load in enumerate(herd.loads)
            if place == me or (herd.in_rotation[place] and now_ns - herd.ticks_ns[place] < STALE_NS)
        ]
        mine, mean = herd.loads[me], sum(loads) / len(loads)
        if mine <= mean * END_SHARE:
            self._has_begun = False
        elif mine >= mean * BEGIN_SHARE and mine >= mean + BEGIN_MORE:
            self._has_begun = True
        if not self._has_begun:
            return 0
        return min(int(mine - mean), max(1, int(mine * RATE_SHARE)))
