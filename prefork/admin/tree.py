"""The service's processes, with what they use: found from the master down, read when somebody asks.

The master is read before its children: CPU time that moves up when a child is reaped may be missed once, but is never
counted twice; and the sum never goes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from prefork.control.status import ServiceStatus
from prefork.system import clock, processes, usage

ROLES = ("master", "zygote", "worker", "spare", "admin", "watcher", "chooser")
PSS_FRESH_S = 5.0
"""Reading it costs a millisecond for each process, or more: it is read so often at most."""


class Process(NamedTuple):
    """One process of the service."""

    pid: int
    role: str
    rss_bytes: int
    pss_bytes: int | None
    """None where the kernel does not tell us."""
    cpu_s: float


class Processes(NamedTuple):
    """All of them."""

    list: tuple[Process, ...] = ()
    cpu_s: float = 0.0
    """Of these, and of all that have ended."""


class Tree:
    """Remembers only what is dear to read."""

    def __init__(self) -> None:
        self._cpu_s = 0.0
        self._pss: dict[tuple[int, int], int | None] = {}
        """By pid and start."""
        self._pss_read_at = -PSS_FRESH_S

    def read(self, status: ServiceStatus) -> Processes:
        """Who is there now."""
        workers = {worker.pid for worker in status.workers}
        now = clock.monotonic()
        is_stale = now - self._pss_read_at >= PSS_FRESH_S
        if is_stale:
            self._pss_read_at = now
        known, self._pss = ({} if is_stale else self._pss), {}
        found, cpu_s = [], 0.0
        waiting = [(status.pid, "master")]
        while waiting:
            pid, role = waiting.pop(0)
            stat = usage.read_stat(pid)
            if stat is None:
                continue
            cpu_s += stat.cpu_s + stat.reaped_cpu_s
            pss = self._find_pss(pid, stat.started_ticks, known)
            found.append(Process(pid, role, stat.rss_bytes, pss, stat.cpu_s))
            if role in ("master", "zygote"):
                waiting += [(child, _find_role(child, role, workers)) for child in usage.list_children(pid)]
        self._cpu_s = max(self._cpu_s, cpu_s)
        return Processes(tuple(found), self._cpu_s)

    def _find_pss(
        self, pid: int, started_ticks: int, known: Mapping[tuple[int, int], int | None]
    ) -> int | None:
        key = (pid, started_ticks)
        self._pss[key] = known[key] if key in known else usage.read_pss(pid)
        return self._pss[key]


def _find_role(pid: int, parents: str, workers: set[int]) -> str:
    if pid in workers:
        return "worker"
    if pid == processes.get_pid():
        return "admin"
    if parents == "zygote":
        return "spare"
    words = usage.read_command(pid).split()
    is_named = len(words) > 1 and words[0] == "prefork:" and words[1] in ROLES
    return words[1] if is_named else "zygote"
