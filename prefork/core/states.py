"""The states of workers, zygotes and the service, and which may follow which, as tables.

A state that is not in the table cannot be entered: `follow` refuses, so an impossible history fails loudly in tests.
"""

from __future__ import annotations

from enum import Enum


class WorkerState(Enum):
    """A worker process, from the request to fork it to its reaping."""

    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"
    KILLED = "killed"
    """Condemned: its stacks are being dumped, then SIGKILL; it ends whatever it does."""
    EXITED = "exited"


class Stall(Enum):
    """Whether a worker's loop hangs, and who knows of it."""

    NONE = "none"
    ASKED = "asked"
    """Its stacks are being dumped."""
    TOLD = "told"
    UNTOLD = "untold"
    """There were too many to tell of this one."""


class ZygoteState(Enum):
    """The one importing process of a generation."""

    IMPORTING = "importing"
    READY = "ready"
    LEAVING = "leaving"
    EXITED = "exited"


class ServiceState(Enum):
    """The whole, as `status` shows it."""

    STARTING = "starting"
    SERVING = "serving"
    RELOADING = "reloading"
    DEGRADED = "degraded"
    STOPPING = "stopping"


WORKER_MAY_BECOME: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.BOOTING: frozenset(
        {WorkerState.READY, WorkerState.DRAINING, WorkerState.KILLED, WorkerState.EXITED}
    ),
    WorkerState.READY: frozenset({WorkerState.DRAINING, WorkerState.KILLED, WorkerState.EXITED}),
    WorkerState.DRAINING: frozenset({WorkerState.KILLED, WorkerState.EXITED}),
    WorkerState.KILLED: frozenset({WorkerState.EXITED}),
    WorkerState.EXITED: frozenset(),
}

ZYGOTE_MAY_BECOME: dict[ZygoteState, frozenset[ZygoteState]] = {
    ZygoteState.IMPORTING: frozenset({ZygoteState.READY, ZygoteState.LEAVING, ZygoteState.EXITED}),
    ZygoteState.READY: frozenset({ZygoteState.LEAVING, ZygoteState.EXITED}),
    ZygoteState.LEAVING: frozenset({ZygoteState.EXITED}),
    # A zygote that died is started again for the same generation while its workers live.
    ZygoteState.EXITED: frozenset({ZygoteState.IMPORTING}),
}


def follow_worker(now_in: WorkerState, to: WorkerState) -> WorkerState:
    """`to`, if a worker may go there; raises AssertionError otherwise: a defect of ours, never of the input."""
    if to not in WORKER_MAY_BECOME[now_in]:
        raise AssertionError(f"a worker cannot go from {now_in.value} to {to.value}")
    return to


def follow_zygote(now_in: ZygoteState, to: ZygoteState) -> ZygoteState:
    """`to`, if a zygote may go there; raises AssertionError otherwise: a defect of ours, never of the input."""
    if to not in ZYGOTE_MAY_BECOME[now_in]:
        raise AssertionError(f"a zygote cannot go from {now_in.value} to {to.value}")
    return to
