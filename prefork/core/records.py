"""What is remembered of each worker, slot, generation and reload. Mutable, owned by the one `Fleet`."""

from __future__ import annotations

from prefork.core.policy import FORK_GRACE_S, Policy
from prefork.core.states import Stall, WorkerState, ZygoteState, follow_worker, follow_zygote

NEVER = float("inf")


class Worker:
    """One worker process, known from the moment its fork is asked for until it is reaped."""

    __slots__ = (
        "asked_at",
        "beat_due",
        "beat_floor",
        "deadline",
        "gen",
        "has_left",
        "kills",
        "leaving",
        "pid",
        "policy",
        "ready_at",
        "retiring",
        "row",
        "serial",
        "slot",
        "stall",
        "stall_due",
        "stalled_from",
        "state",
        "why",
    )

    def __init__(self, serial: int, slot: int, gen: int, row: int, policy: Policy, now: float) -> None:
        self.serial = serial
        self.slot = slot
        self.gen = gen
        self.row = row
        self.policy = policy
        self.state = WorkerState.BOOTING
        self.asked_at = now
        """Its fork."""
        self.pid = 0
        self.kills = 0
        self.ready_at = NEVER
        self.deadline = now + policy.boot_timeout_s
        """BOOTING: give up. READY: it has lived for min-uptime. DRAINING: patience ends. KILLED: SIGKILL."""
        self.beat_floor = now
        """Silence counts from here or from the last beat, whichever is later."""
        self.beat_due = now + FORK_GRACE_S
        """READY, DRAINING: its loop is stuck then. BOOTING and not forked yet: its zygote is."""
        self.stall_due = NEVER
        """READY, DRAINING: when to look whether its loop hangs; see `stalls`."""
        self.stall = Stall.NONE
        self.stalled_from = 0.0
        """Its last beat, if it hangs."""
        self.why = ""
        self.retiring = ""
        """Why it asked to be replaced."""
        self.leaving = ""
        """Why it was told to drain."""
        self.has_left = False
        """DRAINING: does it accept no more? By its own word, or because it never accepted."""

    def become(self, state: WorkerState, deadline: float) -> None:
        """The one place where a worker changes its state."""
        self.state = follow_worker(self.state, state)
        self.deadline = deadline
        if state in (WorkerState.KILLED, WorkerState.EXITED):
            self.beat_due = self.stall_due = NEVER

    def expect_beat(self, since: float) -> None:
        """Silence is counted from `since` on."""
        self.beat_floor = max(self.beat_floor, since)
        self.beat_due = self.beat_floor + self.policy.timeout_s if self.policy.timeout_s > 0 else NEVER

    def is_serving(self) -> bool:
        """Is its serving loop supposed to run?"""
        return self.state in (WorkerState.READY, WorkerState.DRAINING)

    def is_settled(self, now: float) -> bool:
        """Has it proved itself by living long enough?"""
        return self.state is WorkerState.READY and now >= self.ready_at + self.policy.min_uptime_s


class Slot:
    """A place that shall be filled: who fills it, and how its past workers fared."""

    __slots__ = (
        "current", "failed", "gen", "index", "last_reason", "not_before", "restarts", "streak", "successor"
    )  # fmt: skip

    def __init__(self, index: int, gen: int) -> None:
        self.index = index
        self.gen = gen
        """The generation wanted here; `current` may still be of another."""
        self.current: Worker | None = None
        self.successor: Worker | None = None
        self.streak = 0
        """Young deaths in a row."""
        self.not_before = 0.0
        self.failed = False
        self.restarts = 0
        """Its part of `History.restarts`."""
        self.last_reason = ""
        """Why the last one that went did."""

    def forgive(self) -> None:
        """A worker here proved itself, or a new generation deserves a new chance."""
        self.streak = 0
        self.not_before = 0.0
        self.failed = False

    def is_vacant(self) -> bool:
        """Is nobody here, and nobody on the way?"""
        return self.current is None and self.successor is None

    def is_served(self) -> bool:
        """Does a ready worker of the wanted generation fill it?"""
        current = self.current
        return current is not None and current.gen == self.gen and current.state is WorkerState.READY


class Generation:
    """One zygote after the other for the same configuration."""

    __slots__ = ("deadline", "gen", "not_before", "policy", "state", "streak", "why")

    def __init__(self, gen: int, policy: Policy, now: float) -> None:
        self.gen = gen
        self.policy = policy
        self.state = ZygoteState.IMPORTING
        self.deadline = now + policy.boot_timeout_s
        """IMPORTING: give up. LEAVING: kill."""
        self.streak = 0
        self.not_before = NEVER
        """EXITED: when to start it again."""
        self.why = ""
        """Why it is given up, if something is wrong with it."""

    def become(self, state: ZygoteState, deadline: float = NEVER) -> None:
        """The one place where a zygote changes its state."""
        self.state = follow_zygote(self.state, state)
        self.deadline = deadline


class Rollout:
    """A reload under way: slots are moved to `gen` a few at a time, the first one alone."""

    __slots__ = ("began_at", "deadline", "failure", "finish_by", "gen", "has_settled", "policy")

    def __init__(self, gen: int, policy: Policy, now: float) -> None:
        self.gen = gen
        self.policy = policy
        self.began_at = now
        self.has_settled = False
        """Has the canary been ready for long enough?"""
        self.finish_by = NEVER
        """Every slot is moved: workers that have not said by then that they left rotation are not waited for."""
        self.deadline = NEVER
        """When time alone takes it a step further."""
        self.failure = ""
        """Why it cannot go on; it is abandoned at the next step."""
