"""May this worker take the connection that waits, or is another in a better place to?

Pure: the rows of the herd and the time come in, yes or no goes out. All workers poll the same listeners, and the
kernel wakes whoever sleeps; without a word of ours the quickest to wake takes everything. With it, a worker that has
more connections than another steps aside for a lease, a millisecond or two, and looks again. When so many wait that
the lighter ones would not get ahead of it even if they took their fill, it takes one too: that keeps everybody busy,
and comes out as even.

It never makes a client wait for the sake of evenness. Who has the least never steps aside, nor does who is alone.
Somebody lighter who does not come for the connection (it is stuck, stopped, or inside a long request) is waited for,
ever shorter, and then left out of account for a while; so is one that is out of rotation or whose tick is stale. Only
one that waits for a processor, as we have just done, is waited for longer: it is on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

LEASE_S = 0.002
"""How long who steps aside does not look."""
PATIENCE_S = 0.008
"""How long a connection may wait while nobody lighter takes any."""
PATIENCE_MOST_S = 0.02
"""The same while they do take some, but cannot keep up."""
PATIENCE_COMING_S = 0.04
"""The same if one of them only lacks a processor: no longer than a client notices."""
STRIKES_MOST = 3
"""Who was waited for in vain has a lease's head start the next time; after so often it is left out of account …"""
DISTRUST_S = 0.1
"""… for so long, or until it takes a connection."""
STALE_NS = 1_250_000_000
"""Two beats and a half without one: its loop does not run."""
SLACK_SHARE = 16
"""One sixteenth more than the lightest is even."""
SLACK_UNSEEN = 4
"""So many more besides, where nobody knows how many wait: a queue that never ends must not keep stepping aside."""


class Herd(NamedTuple):
    """What the workers say of themselves, by place; every list is of the same length."""

    loads: list[int]
    """Connections, with those that are being opened."""
    ticks_ns: list[int]
    in_rotation: list[int]
    """0: it takes none."""
    accepted: list[int]
    """Connections taken so far."""


class Gate:
    """One worker's. It remembers whom it waits for, and since when."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._moved_s = 0.0
        self._looked_s = 0.0
        self._is_waiting = False
        self._accepted = 0
        """By all together when the wait began …"""
        self._queue = 1
        """… and so many waited then: when as many have been accepted, it is another connection that waits."""
        self._seen: dict[int, int] = {}
        """Place -> what those we wait for had accepted at our last look."""
        self._strikes: dict[int, _Strikes] = {}

    def may_take(
        self,
        me: int,
        herd: Herd,
        now_ns: int,
        waiting: int | None = 1,
        is_coming: Callable[[int], bool] = lambda _: False,
    ) -> bool:
        """Whether the worker at place `me` takes one now; `waiting` connections are in the queue, None if nobody
        knows. False: step aside for `LEASE_S`, then ask again if a connection still waits. `is_coming` says of a place
        whether who is there waits for a processor, and is asked only before somebody is given up.
        """
        now_s = now_ns / 1e9
        slack = SLACK_UNSEEN if waiting is None else 0
        strikes = {
            place: self._count_strikes(place, herd, now_s) for place in find_lighter(me, herd, now_ns, slack)
        }
        lighter = [place for place in strikes if strikes[place] < STRIKES_MOST]
        mine = herd.loads[me]
        if not lighter or (waiting or 0) > sum(mine - herd.loads[place] for place in lighter):
            self._is_waiting = False
            return True
        has_moved = any(herd.accepted[place] != self._seen.get(place) for place in lighter)
        self._seen = {place: herd.accepted[place] for place in lighter}
        looked_s, self._looked_s = self._looked_s, now_s
        accepted = sum(herd.accepted)
        if (
            not self._is_waiting
            or now_s - looked_s > 2 * LEASE_S + PATIENCE_S
            or (waiting is not None and accepted - self._accepted >= self._queue)
        ):  # another connection's wait
            self._is_waiting = True
            self._since_s = self._moved_s = now_s
            self._accepted, self._queue = accepted, max(1, waiting or 0)
            return False
        if has_moved:
            self._moved_s = now_s
        patience_s = LEASE_S / 2 if all(strikes[place] for place in lighter) else PATIENCE_S
        if now_s - self._moved_s < patience_s and now_s - self._since_s < PATIENCE_MOST_S:
            return False
        if now_s - self._since_s < PATIENCE_COMING_S and any(
            not strikes[place] and is_coming(place) for place in lighter
        ):
            return False
        is_slow = has_moved or now_s - self._moved_s < patience_s
        for place in lighter:
            redeemed_by = None if is_slow else herd.accepted[place]
            number = STRIKES_MOST if is_slow else strikes[place] + 1
            self._strikes[place] = _Strikes(number, now_s + DISTRUST_S, redeemed_by)
        self._is_waiting = False
        return True

    def pass_by(self) -> None:
        """A connection was taken without asking, for nobody had fewer: the wait for somebody lighter is over."""
        self._is_waiting = False

    def _count_strikes(self, place: int, herd: Herd, now_s: float) -> int:
        strikes = self._strikes.get(place)
        if strikes is None:
            return 0
        if now_s < strikes.until_s and strikes.accepted in (None, herd.accepted[place]):
            return strikes.number
        del self._strikes[place]
        return 0


class _Strikes(NamedTuple):
    number: int
    """How often it was waited for in vain."""
    until_s: float
    accepted: int | None
    """What it had accepted then: as soon as it takes another, all is forgiven. None: it only was too slow."""


def is_lighter(load: int, mine: int) -> bool:
    """Whether a worker with so many connections has clearly fewer than one with `mine`."""
    return load + load // SLACK_SHARE < mine


def find_lighter(me: int, herd: Herd, now_ns: int, slack: int = 0) -> list[int]:
    """The places of those who take connections and have clearly fewer than the one at `me`: by more than `slack`."""
    mine = herd.loads[me] - slack
    return [
        place
        for place, load in enumerate(herd.loads)
        if is_lighter(load, mine)
        and herd.in_rotation[place]
        and now_ns - herd.ticks_ns[place] < STALE_NS
        and place != me
    ]
