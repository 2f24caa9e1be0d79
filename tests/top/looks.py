"""Services that nobody started, for the tests of what is made from their statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefork.control.status import (
    ListenerStatus,
    ServiceStatus,
    SlotStatus,
    TotalsStatus,
    WorkerStatus,
)  # fmt: skip
from prefork.core.figures import BUCKETS
from prefork.system.usage import Reading
from prefork.top.rates import Look

MB = 1 << 20


def count_latency(**buckets: int) -> tuple[int, ...]:
    """`b10=5`: five requests in bucket 10."""
    return tuple(buckets.get(f"b{bucket}", 0) for bucket in range(BUCKETS))


def make_worker(slot: int, **fields: Any) -> WorkerStatus:
    defaults = {
        "serial": slot + 1, "slot": slot, "gen": 1, "pid": 1000 + slot, "state": "ready", "uptime_s": 60.0,
        "age_s": 60.5, "tick_age_s": 0.0,
    }  # fmt: skip
    return WorkerStatus(**{**defaults, **fields})


def make_status(*workers: WorkerStatus, **fields: Any) -> ServiceStatus:
    """Totals are the workers' sums unless they are given."""
    totals = TotalsStatus(
        requests=sum(worker.requests for worker in workers),
        statuses=tuple(map(sum, zip(*(worker.statuses for worker in workers), strict=True))) or (0,) * 5,
        latency=tuple(map(sum, zip(*(worker.latency for worker in workers), strict=True))) or (0,) * BUCKETS,
    )
    slots = tuple(
        SlotStatus(index=slot, state="filled") for slot in sorted({worker.slot for worker in workers})
    )
    defaults: dict[str, Any] = {
        "version": "0", "name": "shop", "app": "main:app", "interface": "asgi", "chdir": "/", "config_file": "",
        "pid": 100, "uid": 0, "python": "3.11.2", "started_at": 1e9, "uptime_s": 61.0, "state": "serving",
        "is_parked": False, "is_drained": False,
        "is_ready": True, "gen": 1, "workers_wanted": len(workers), "workers_ready": len(workers),
        "workers_why": "", "min_ready": 1, "balance": "shared", "addresses": ("127.0.0.1:8000",),
        "listeners": (ListenerStatus(address="127.0.0.1:8000", backlog=0),), "slots": slots, "workers": workers,
        "rollout": None, "reloads": 0, "rollbacks": 0, "last_reload": "", "restarts": {}, "totals": totals,
        "p50_s": 0.0, "p90_s": 0.0, "p99_s": 0.0, "in_flight": sum(worker.in_flight for worker in workers),
        "connections": sum(worker.connections for worker in workers),
    }  # fmt: skip
    return ServiceStatus(**{**defaults, **fields})


def make_look(at: float, status: ServiceStatus, readings: Mapping[int, Reading] | None = None) -> Look:
    return Look(at, status, readings or {})
