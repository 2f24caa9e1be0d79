"""Which loops hang, long before anybody is killed for it: told once, with the stacks, while it lasts.

A loop that beats every half second and was last heard longer than that and `slow_s` ago has been stuck for `slow_s` at
least. Every look looks at all of them, so the master wakes about once a second, however many workers there are.
"""

from __future__ import annotations

from prefork.core import actions as do
from prefork.core.fleet import Fleet, who
from prefork.core.policy import BEAT_EVERY_S, DUMP_GRACE_S
from prefork.core.records import NEVER, Worker
from prefork.core.states import Stall

PER_MINUTE = 10
"""So many stalls are told of in a minute; the others are counted."""
MINUTE_S = 60.0
LOOK_AGAIN_S = 0.5
"""While one lasts: how often to look whether it is over."""


class Stalls:
    """What has been told lately."""

    __slots__ = ("_told_at", "_untold")

    def __init__(self) -> None:
        self._told_at: list[float] = []
        self._untold = 0

    def watch(self, worker: Worker, now: float) -> None:
        """Its loop is supposed to run from now on; or nobody ran until now, and nobody is to blame."""
        slow_s = worker.policy.slow_s
        worker.stall = Stall.NONE
        worker.stall_due = now + BEAT_EVERY_S + slow_s if slow_s > 0 and worker.is_serving() else NEVER

    def look(self, fleet: Fleet, worker: Worker, tick: float) -> None:
        """`tick`: when it last beat, in monotonic seconds."""
        now = fleet.now
        if worker.stall_due == NEVER:
            return
        # A tick from the future is a lie of the app's.
        last = max(worker.beat_floor, tick if tick <= now else 0.0)
        if worker.stall is Stall.NONE:
            worker.stall_due = last + BEAT_EVERY_S + worker.policy.slow_s
            if worker.stall_due <= now:
                self._notice(fleet, worker, last)
        elif worker.stall_due <= now:
            self._follow(fleet, worker, last)

    def _notice(self, fleet: Fleet, worker: Worker, last: float) -> None:
        now = fleet.now
        worker.stalled_from = last
        self._told_at = [at for at in self._told_at if at > now - MINUTE_S]
        if len(self._told_at) >= PER_MINUTE:
            self._untold += 1
            worker.stall = Stall.UNTOLD
            worker.stall_due = now + LOOK_AGAIN_S
            return
        self._told_at.append(now)
        worker.stall = Stall.ASKED
        worker.stall_due = now + DUMP_GRACE_S
        fleet.out.append(do.DumpStacks(worker.serial))

    def _follow(self, fleet: Fleet, worker: Worker, last: float) -> None:
        if worker.stall is Stall.ASKED:
            # By the beats alone: it may have run for most of the time until it owed the next.
            stalled_s = fleet.now - worker.stalled_from - BEAT_EVERY_S
            fleet.out.append(do.TellStall(worker.serial, stalled_s, self._untold))
            self._untold = 0
            worker.stall = Stall.TOLD
        if last <= worker.stalled_from:
            worker.stall_due = fleet.now + LOOK_AGAIN_S
            return
        if worker.stall is Stall.TOLD:
            stalled_ms = max(0, round((last - worker.stalled_from - BEAT_EVERY_S) * 1000))
            fleet.report("info", "worker runs again", **who(worker), stalled_ms=stalled_ms)
        self.watch(worker, last)
