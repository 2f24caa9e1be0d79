"""What a service costs: memory and CPU of its processes, read from /proc by whoever wants to know.

Never by the master: the kernel walks a process's whole memory for its PSS, which takes milliseconds each.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import psutil

from prefork.control.status import ServiceStatus


class Footprint(msgspec.Struct, frozen=True):
    """Of one process, or the sum of several."""

    pss_bytes: int | None = None
    """Its share of memory: pages that n processes share count 1/n each. RSS where the kernel does not say PSS; None if
    it says nothing."""
    cpu_s: float = 0.0


def read_footprint(pid: int) -> Footprint:
    """Nothing, if it is gone or another user's."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            memory = process.memory_full_info()
    except (psutil.Error, OSError):
        return Footprint()
    return Footprint(getattr(memory, "pss", memory.rss), times.user + times.system)


def add_up(footprints: Iterable[Footprint]) -> Footprint:
    """The sum of what is known."""
    parts = list(footprints)
    known = [part.pss_bytes for part in parts if part.pss_bytes is not None]
    return Footprint(sum(known) if known else None, sum(part.cpu_s for part in parts))


def list_pids(status: ServiceStatus) -> list[int]:
    """Of the whole service: the master, its zygotes, its workers and whatever those started."""
    try:
        children = [child.pid for child in psutil.Process(status.pid).children(recursive=True)]
    except (psutil.Error, OSError):
        children = [worker.pid for worker in status.workers if worker.pid]
    return [status.pid, *children]


def read_service(status: ServiceStatus) -> dict[int, Footprint]:
    """Of each of its processes."""
    return {pid: read_footprint(pid) for pid in list_pids(status)}
