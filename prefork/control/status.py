"""The service at one moment, as its master tells it: what `status`, `ls`, `top` and the admin page are made from.

Data, and the few judgements that need nothing else. What only /proc knows (memory, CPU) is not in it: whoever wants
that reads it for the pids, so that the master never has to.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from prefork.core.figures import BUCKETS, CLASSES

EXIT_HEALTHY = 0
EXIT_DEGRADED = 1
EXIT_NOT_RUNNING = 3

SlotState = Literal["filled", "backoff", "failed", "vacant"]
Stage = Literal["importing", "canary", "settling", "rolling", "draining"]


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process. What it did is its own claim."""

    serial: int
    slot: int
    gen: int
    pid: int
    """0 until its fork is confirmed."""
    state: str
    """`booting`, `ready`, `draining` or `killed`."""
    why: str = ""
    """Why it drains, is killed or asked to be replaced."""
    uptime_s: float = 0.0
    """Since it was ready; 0.0 before."""
    age_s: float = 0.0
    """Since its fork was asked for."""
    tick_age_s: float | None = None
    """Since its loop last beat; None before the first beat."""
    lag_s: float = 0.0
    """How late that beat was."""
    connections: int = 0
    in_flight: int = 0
    requests: int = 0
    accepted: int = 0
    statuses: tuple[int, ...] = (0,) * CLASSES
    """Responses by class, 1xx to 5xx."""
    bytes_in: int = 0
    bytes_out: int = 0
    busy_s: float = 0.0
    """CPU time of its serving thread."""
    shed: int = 0
    latency: tuple[int, ...] = (0,) * BUCKETS
    """See `core/figures.py`."""
    p50_s: float = 0.0
    p99_s: float = 0.0


class SlotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One place that shall be filled."""

    index: int
    state: SlotState
    restarts: int = 0
    """Workers that were replaced here, apart from reloads: its part of the service's."""
    last_reason: str = ""
    """Why its last worker went."""
    retry_in_s: float | None = None
    """`backoff`: until the next fork."""


class ListenerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the service listens on."""

    address: str
    backlog: int | None = None
    """Connections that wait in the kernel now; None where it does not say."""


class RolloutStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A reload under way: `moved` slots `of` all run `gen`."""

    gen: int
    moved: int
    of: int
    stage: Stage
    started_s: float
    """Ago."""


class TotalsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What only grows: all workers there ever were."""

    requests: int = 0
    accepted: int = 0
    statuses: tuple[int, ...] = (0,) * CLASSES
    bytes_in: int = 0
    bytes_out: int = 0
    busy_s: float = 0.0
    shed: int = 0
    latency: tuple[int, ...] = (0,) * BUCKETS


class LogStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A log, `-` for standard output."""

    kind: str
    path: str


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole service."""

    version: str
    name: str
    app: str
    interface: str
    """Empty until somebody imported the app."""
    chdir: str
    config_file: str
    """The file that the configuration was read from; empty if there was none."""
    pid: int
    uid: int
    python: str
    started_at: float
    """Unix seconds."""
    uptime_s: float
    state: str
    """`starting`, `serving`, `reloading`, `degraded` or `stopping`."""
    is_parked: bool
    """Every worker drained and nobody follows (WINCH)."""
    is_drained: bool
    """An operator took it out of the load balancers (`prefork drain`); it serves whoever comes."""
    is_ready: bool
    """Shall load balancers send traffic here?"""
    gen: int
    workers_wanted: int
    workers_ready: int
    workers_why: str
    min_ready: int
    balance: str
    addresses: tuple[str, ...]
    listeners: tuple[ListenerStatus, ...]
    slots: tuple[SlotStatus, ...]
    workers: tuple[WorkerStatus, ...]
    rollout: RolloutStatus | None
    reloads: int
    """That succeeded."""
    rollbacks: int
    """Reloads that failed, and left the service as it was."""
    last_reload: str
    """Empty before the first, `ok`, or why it failed or was refused."""
    restarts: dict[str, int]
    """Workers that were replaced, apart from reloads, by reason: see `core/reasons.py`."""
    totals: TotalsStatus
    p50_s: float
    p90_s: float
    p99_s: float
    in_flight: int
    connections: int
    log_files: tuple[LogStatus, ...] = ()
    admin: tuple[str, ...] = ()
    """Addresses."""
    agent_check: tuple[str, ...] = ()
    """Addresses."""


def is_ready(state: str, workers_ready: int, min_ready: int, *, is_parked: bool, is_drained: bool) -> bool:
    """Shall load balancers send traffic to such a service?"""
    return state != "stopping" and not is_parked and not is_drained and workers_ready >= min_ready


def judge_health(status: ServiceStatus) -> int:
    """What `prefork status` exits with: 0 for whole, 1 for anything less. Who is not there gets 3 from nobody.

    A reload is a service in good health as long as everybody is there whom it wants; so is one out of rotation.
    """
    is_whole = (
        status.state in ("serving", "reloading")
        and not status.is_parked
        and status.workers_ready >= max(1, status.workers_wanted)
        and not any(slot.state == "failed" for slot in status.slots)
    )
    return EXIT_HEALTHY if is_whole else EXIT_DEGRADED


def show_state(status: ServiceStatus) -> str:
    """One word for people: what an operator did to it comes before what it does."""
    if status.state == "stopping":
        return status.state
    if status.is_parked:
        return "parked"
    return "drained" if status.is_drained else status.state
