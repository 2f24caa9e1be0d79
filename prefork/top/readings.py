"""What only /proc knows of a service's processes: CPU time and memory.

Read by whoever looks, never by the master. A process that ends meanwhile has no reading, and that is no error.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import psutil


class Reading(NamedTuple):
    """One process at one moment."""

    cpu_s: float
    """User and system time since it started."""
    pss_bytes: int | None
    """Its private pages, and its part of the shared ones: these add up. None where the kernel does not tell us."""


def read_family(master: int) -> dict[int, Reading]:
    """The master and all that descends from it, what the app started too, by pid."""
    found: dict[int, Reading] = {}
    waiting = [master]
    while waiting:
        pid = waiting.pop()
        if pid not in found and (reading := read_process(pid)) is not None:
            found[pid] = reading
            waiting += _list_children(pid)
    return found


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
    # The kernel's own lists, one for each thread, are quick: psutil looks at every process of the machine. See proc(5).
    try:
        children = []
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # names are enough
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:  # noqa: PTH123
                children += [int(word) for word in file.read(65536).split()]
    except FileNotFoundError:  # it or its thread has just ended, or the kernel has no such lists
        return _ask_psutil(pid)
    except OSError:
        return []
    return children


def _ask_psutil(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []
