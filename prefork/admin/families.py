"""The service's status and its processes' memory and CPU → prefork's own metrics. Pure.

The names are a promise: dashboards and alerts are made of them. Counters are the service's, from its start: a worker
that is gone has left its numbers behind, so that none ever goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import get_args

from prefork.admin.exposition import Family, Kind, Sample
from prefork.admin.tree import ROLES, Processes
from prefork.control.status import ServiceStatus
from prefork.core.figures import BUCKETS, bucket_start_ns
from prefork.core.reasons import Reason

SHORTEST_NS = 1 << 17
"""0.13 ms: the first bucket's upper end."""
LONGEST_NS = 1 << 35
"""34 s: the last one's before infinity."""
WORKER_STATES = ("booting", "ready", "draining", "killed")
SLOT_STATES = ("filled", "vacant", "backoff", "failed")
SERVICE_STATES = ("starting", "serving", "reloading", "degraded", "stopping")
REASONS: tuple[str, ...] = get_args(Reason)
"""All there are: a counter that appears with its first event hides that event from `rate()`."""


def list_families(status: ServiceStatus, processes: Processes) -> tuple[Family, ...]:
    """Everything that prefork says of a service, always in the same order."""
    return (
        *_list_service(status),
        *_list_workers(status),
        *_list_requests(status),
        *_list_processes(processes),
    )


def _list_service(status: ServiceStatus) -> Iterator[Family]:
    build = (("version", status.version), ("python", status.python), ("interface", status.interface))
    yield _one("prefork_build", "info", "Versions, and what the app speaks.", 1, build)
    yield _one(
        "prefork_start_time_seconds",
        "gauge",
        "When the service was started, in Unix seconds.",
        status.started_at,
    )
    yield _one(
        "prefork_uptime_seconds", "gauge", "For how long the master has been running.", status.uptime_s
    )
    yield _one(
        "prefork_ready",
        "gauge",
        "1 while load balancers shall send traffic here, as /readyz says.",
        int(status.is_ready),
    )
    states = {state: int(state == status.state) for state in SERVICE_STATES}
    yield _each("prefork_state", "gauge", "1 for the state that the service is in.", "state", states)
    yield _one(
        "prefork_generation", "gauge", "The generation in service: one more with each reload.", status.gen
    )
    yield _one("prefork_reloads", "counter", "Reloads that succeeded.", status.reloads)
    yield _one(
        "prefork_rollbacks",
        "counter",
        "Reloads that failed, and left the service as it was.",
        status.rollbacks,
    )
    backlogs = {each.address: each.backlog for each in status.listeners if each.backlog is not None}
    yield _each(
        "prefork_listener_backlog",
        "gauge",
        "Connections that wait in the kernel to be accepted.",
        "address",
        backlogs,
    )


def _list_workers(status: ServiceStatus) -> Iterator[Family]:
    yield _one("prefork_workers_wanted", "gauge", "How many workers there shall be.", status.workers_wanted)
    workers = Counter(worker.state for worker in status.workers)
    yield _each("prefork_workers", "gauge", "Workers by state.", "state", _fill(WORKER_STATES, workers))
    slots: Counter[str] = Counter(slot.state for slot in status.slots)
    yield _each("prefork_slots", "gauge", "Workers' places by state.", "state", _fill(SLOT_STATES, slots))
    yield _each(
        "prefork_restarts",
        "counter",
        "Workers that were replaced, apart from reloads, by reason.",
        "reason",
        _fill(REASONS, status.restarts),
    )
    yield _one(
        "prefork_loop_lag_seconds",
        "gauge",
        "How late the last beat of a worker's loop was: the worst of all.",
        max((worker.lag_s for worker in status.workers), default=0.0),
    )
    yield _one(
        "prefork_busy_seconds", "counter", "CPU time of the workers' serving threads.", status.totals.busy_s
    )


def _list_requests(status: ServiceStatus) -> Iterator[Family]:
    totals = status.totals
    classes = {f"{at}xx": count for at, count in enumerate(totals.statuses, 1)}
    yield _each("prefork_requests", "counter", "Responses by the class of their status.", "code", classes)
    yield _one("prefork_requests_in_flight", "gauge", "Requests begun and not answered.", status.in_flight)
    yield Family(
        "prefork_request_duration_seconds",
        "histogram",
        "From a request's head to the end of its response; of the first four connections of a worker and of every "
        "eighth of the others.",
        tuple(_cut_buckets(totals.latency)),
    )
    yield _one("prefork_connections", "gauge", "Connections that are open.", status.connections)
    yield _one("prefork_connections_accepted", "counter", "Connections that were accepted.", totals.accepted)
    yield _one(
        "prefork_connections_shed",
        "counter",
        "Connections that were asked to leave a crowded worker.",
        totals.shed,
    )
    yield _one("prefork_received_bytes", "counter", "Bytes read from clients.", totals.bytes_in)
    yield _one("prefork_sent_bytes", "counter", "Bytes of responses.", totals.bytes_out)


def _list_processes(processes: Processes) -> Iterator[Family]:
    roles = Counter(process.role for process in processes.list)
    yield _each("prefork_processes", "gauge", "Processes by role.", "role", _fill(ROLES, roles))
    resident, pss = Counter[str](), Counter[str]()
    for process in processes.list:
        resident[process.role] += process.rss_bytes
        pss[process.role] += process.pss_bytes or 0
    yield _each(
        "prefork_resident_memory_bytes",
        "gauge",
        "Memory by role; what processes share counts for each of them.",
        "role",
        resident,
    )
    known = {role: size for role, size in pss.items() if size}
    yield _each(
        "prefork_pss_memory_bytes",
        "gauge",
        "Memory by role, each shared page divided among those who share it.",
        "role",
        known,
    )
    yield _one(
        "prefork_cpu_seconds",
        "counter",
        "CPU time of all processes of the service, those that have ended with them.",
        round(processes.cpu_s, 3),
    )


def _cut_buckets(latency: tuple[int, ...]) -> Iterator[Sample]:
    """Cumulative, at every power of two of nanoseconds that people care for: these are exact."""
    below = 0
    for bucket in range(BUCKETS - 1):
        below += latency[bucket]
        end_ns = bucket_start_ns(bucket + 1)
        if SHORTEST_NS <= end_ns <= LONGEST_NS:
            yield Sample(below, (("le", repr(end_ns / 1e9)),))
    yield Sample(sum(latency), (("le", "+Inf"),))
    yield Sample(sum(latency), suffix="_count")
    yield Sample(round(_estimate_sum_s(latency), 9), suffix="_sum")


def _estimate_sum_s(latency: tuple[int, ...]) -> float:
    """As if those of each bucket were spread evenly over it: half too much or a quarter too little at worst."""
    middles = (bucket_start_ns(bucket) + bucket_start_ns(bucket + 1) for bucket in range(BUCKETS))
    return sum(count * middle for count, middle in zip(latency, middles, strict=True)) / 2e9


def _one(name: str, kind: Kind, text: str, value: float, labels: tuple[tuple[str, str], ...] = ()) -> Family:
    return Family(name, kind, text, (Sample(value, labels),))


def _each(name: str, kind: Kind, text: str, label: str, values: Mapping[str, float]) -> Family:
    return Family(name, kind, text, tuple(Sample(value, ((label, key),)) for key, value in values.items()))


def _fill(keys: tuple[str, ...], counts: Mapping[str, int]) -> dict[str, int]:
    """All of these, and whatever else there is."""
    return {**dict.fromkeys(keys, 0), **counts}
