"""What only /proc knows of a service's processes: CPU time and memory.

Read by whoever looks, never by the master. A process that ends meanwhile has no reading, and that is no error.
"""

from __future__ import annotations

from typing import NamedTuple

import psutil


class Reading(NamedTuple):
    """One process at one moment."""

    cpu_s: float
    """User and system time since it started."""
    pss_bytes: int | None
    """Its private pages, and its part of the shared ones: these add up. None where the kernel does not tell us."""


def read_family(master: int) -> dict[int, Reading]:
    """The master, its children (zygotes, the watcher, …) and theirs (workers, the spare), by pid.

    Further down there is only what the app started.
    """
    children = _list_children(master)
    pids = [master, *children, *(pid for child in children for pid in _list_children(child))]
    return {pid: reading for pid in pids if (reading := read_process(pid)) is not None}


def read_process(pid: int) -> Reading | None:
    """None if it is gone."""
    try:
        process = psutil.Process(pid)
        spent = process.cpu_times()
        cpu_s = spent.user + spent.system
    except psutil.Error:
        return None
    try:
        return Reading(cpu_s, getattr(process.memory_full_info(), "pss", None))
    except psutil.Error:  # another user's
        return Reading(cpu_s, None)


def _list_children(pid: int) -> list[int]:
    # Only the kernel's own list is quick: psutil's looks at every process of the machine. See proc(5). Masters and
    # zygotes have one thread.
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:  # noqa: PTH123  # one small read
            return [int(word) for word in file.read(65536).split()]
    except OSError:
        pass
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []
