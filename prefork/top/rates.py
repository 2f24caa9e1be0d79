"""Two looks at a service → what it does per second. Pure.

Workers publish their counters at each beat, twice a second. Therefore a worker's rate counts from its beat before the
first look to its beat before the second: between the looks themselves there are sometimes two beats, sometimes three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from prefork.control.status import RolloutStatus, ServiceStatus, SlotStatus, WorkerStatus, show_state
from prefork.core.figures import find_percentile
from prefork.system.usage import Reading, add_up

SERVER_ERRORS = 4
"""5xx among the classes of statuses."""
SHORTEST_S = 0.1
"""Nothing is divided by less."""


class Look(NamedTuple):
    """A service at one moment, and what /proc says of its processes."""

    at: float
    """Monotonic seconds, ours."""
    status: ServiceStatus
    readings: Mapping[int, Reading]


class WorkerRates(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, or a slot without one (pid 0). None is what is not known: there was no request, or no earlier look."""

    slot: int
    serial: int
    pid: int
    gen: int
    state: str
    """The worker's, or the slot's: `backoff`, `failed`, `vacant`."""
    why: str
    """Why it leaves; else why its predecessor went."""
    busy_percent: float | None = None
    """CPU time of its serving thread, per second."""
    requests_per_s: float | None = None
    in_flight: int = 0
    connections: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    server_errors: int = 0
    """5xx since it started."""
    server_errors_per_s: float | None = None
    cpu_percent: float | None = None
    """100 is one core."""
    pss_bytes: int | None = None
    uptime_s: float = 0.0
    restarts: int = 0


class ServiceRates(msgspec.Struct, frozen=True, kw_only=True):
    """A service, and its workers by slot."""

    name: str
    pid: int
    state: str
    gen: int
    uptime_s: float
    addresses: tuple[str, ...]
    workers_ready: int
    workers_wanted: int
    over_s: float | None
    """The time that the rates are about; None at the first look."""
    requests_per_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    server_errors: int
    server_errors_per_s: float | None
    in_flight: int
    queue: int | None
    """Connections that wait in the kernel."""
    connections: int
    memory_bytes: int | None
    """PSS of the master, the zygotes, the workers, and what these started."""
    cpu_percent: float | None
    rollout: RolloutStatus | None
    reloads: int
    rollbacks: int
    last_reload: str
    restarts: dict[str, int]
    workers: tuple[WorkerRates, ...]


def compare(before: Look | None, after: Look) -> ServiceRates:
    """The service now, with rates since `before` if that was a look at the same run of it."""
    status = after.status
    if before is not None and not is_same_run(before.status, status):
        before = None
    over_s = max(after.at - before.at, SHORTEST_S) if before else None
    workers = [_compare_worker(before, after, worker) for worker in status.workers]
    filled = {worker.slot for worker in status.workers}
    empty = [_show_empty(slot) for slot in status.slots if slot.index not in filled]
    latency = _subtract(status.totals.latency, before.status.totals.latency) if before else ()
    return ServiceRates(
        name=status.name,
        pid=status.pid,
        state=show_state(status),
        gen=status.gen,
        uptime_s=status.uptime_s,
        addresses=status.addresses,
        workers_ready=status.workers_ready,
        workers_wanted=status.workers_wanted,
        over_s=over_s,
        requests_per_s=_sum_up(before, after, [worker.requests_per_s for worker in workers]),
        p50_s=_find_percentile(latency, 0.5),
        p95_s=_find_percentile(latency, 0.95),
        p99_s=_find_percentile(latency, 0.99),
        server_errors=_count_errors(status),
        server_errors_per_s=(
            max(0, _count_errors(status) - _count_errors(before.status)) / over_s
            if before and over_s
            else None
        ),
        in_flight=status.in_flight,
        queue=_add_known([listener.backlog for listener in status.listeners]),
        connections=status.connections,
        memory_bytes=add_up(after.readings.values()).pss_bytes,
        cpu_percent=_measure_cpu(before, after),
        rollout=status.rollout,
        reloads=status.reloads,
        rollbacks=status.rollbacks,
        last_reload=status.last_reload,
        restarts=status.restarts,
        workers=tuple(sorted([*workers, *empty], key=lambda worker: (worker.slot, worker.serial))),
    )


def is_same_run(one: ServiceStatus, other: ServiceStatus) -> bool:
    """Do both tell of the same master process?"""
    return (one.pid, one.started_at) == (other.pid, other.started_at)


def _compare_worker(before: Look | None, after: Look, worker: WorkerStatus) -> WorkerRates:
    slot = next((slot for slot in after.status.slots if slot.index == worker.slot), None)
    reading = after.readings.get(worker.pid)
    shown = WorkerRates(
        slot=worker.slot,
        serial=worker.serial,
        pid=worker.pid,
        gen=worker.gen,
        state=worker.state,
        why=worker.why or (slot.last_reason if slot else ""),
        in_flight=worker.in_flight,
        connections=worker.connections,
        server_errors=worker.statuses[SERVER_ERRORS],
        pss_bytes=reading.pss_bytes if reading else None,
        uptime_s=worker.uptime_s,
        restarts=slot.restarts if slot else 0,
    )
    if before is None:
        return shown
    earlier = _find_worker(before.status, worker)
    over_s = _find_beats_between(before, after, earlier, worker)
    latency = _subtract(worker.latency, earlier.latency)
    return msgspec.structs.replace(
        shown,
        busy_percent=max(0.0, worker.busy_s - earlier.busy_s) / over_s * 100,
        requests_per_s=max(0, worker.requests - earlier.requests) / over_s,
        p50_s=_find_percentile(latency, 0.5),
        p99_s=_find_percentile(latency, 0.99),
        server_errors_per_s=max(0, worker.statuses[SERVER_ERRORS] - earlier.statuses[SERVER_ERRORS]) / over_s,
        cpu_percent=_measure_process(before, after, worker.pid, is_new=earlier.serial < 0),
    )


def _find_worker(status: ServiceStatus, worker: WorkerStatus) -> WorkerStatus:
    """It as it was, or one that has not done anything yet."""
    for earlier in status.workers:
        if earlier.serial == worker.serial:
            return earlier
    return WorkerStatus(serial=-1, slot=worker.slot, gen=worker.gen, pid=worker.pid, state="booting")


def _find_beats_between(before: Look, after: Look, earlier: WorkerStatus, worker: WorkerStatus) -> float:
    over_s = after.at - before.at
    if earlier.serial < 0:  # forked in between
        return max(SHORTEST_S, min(over_s, worker.age_s))
    if worker.tick_age_s is not None and earlier.tick_age_s is not None:
        beats_s = over_s - worker.tick_age_s + earlier.tick_age_s
        if beats_s >= SHORTEST_S:
            return beats_s
    return max(SHORTEST_S, over_s)  # no beat between them: nothing has changed either


def _show_empty(slot: SlotStatus) -> WorkerRates:
    waits = f"retry in {slot.retry_in_s:.0f} s" if slot.retry_in_s is not None else ""
    why = ", ".join(part for part in (waits, slot.last_reason) if part)
    return WorkerRates(
        slot=slot.index, serial=-1, pid=0, gen=0, state=slot.state, why=why, restarts=slot.restarts
    )


def _sum_up(before: Look | None, after: Look, rates: list[float | None]) -> float | None:
    """The rows' sum, and what those did that are gone."""
    if before is None:
        return None
    done = after.status.totals.requests - before.status.totals.requests
    by_living = sum(
        worker.requests - _find_worker(before.status, worker).requests for worker in after.status.workers
    )
    gone = max(0, done - by_living) / max(after.at - before.at, SHORTEST_S)
    return sum(rate for rate in rates if rate is not None) + gone


def _measure_cpu(before: Look | None, after: Look) -> float | None:
    if before is None:
        return None
    parts = [
        _measure_process(before, after, pid, is_new=pid not in before.readings) for pid in after.readings
    ]
    return sum(part for part in parts if part is not None)


def _measure_process(before: Look, after: Look, pid: int, *, is_new: bool) -> float | None:
    now, then = after.readings.get(pid), before.readings.get(pid)
    if now is None or (then is None and not is_new):
        return None
    spent = now.cpu_s - (then.cpu_s if then is not None else 0.0)
    return max(0.0, spent) / max(after.at - before.at, SHORTEST_S) * 100


def _count_errors(status: ServiceStatus) -> int:
    return status.totals.statuses[SERVER_ERRORS]


def _find_percentile(latency: tuple[int, ...], share: float) -> float | None:
    return find_percentile(latency, share) if any(latency) else None


def _subtract(later: tuple[int, ...], earlier: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(0, b - a) for b, a in zip(later, earlier, strict=True))


def _add_known(parts: list[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
