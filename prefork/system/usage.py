"""What other processes use: memory and CPU, from /proc; see proc(5). For whoever shows a service, never for its master.

Where there is no /proc, or a process is gone or not ours to look into, there is no number.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """One process, read at once."""

    parent: int
    started_ticks: int
    """Since the machine was booted: with the pid it names a process for ever."""
    rss_bytes: int
    cpu_s: float
    """User and system time."""
    reaped_cpu_s: float
    """That of its children that it has waited for, with all that they had waited for."""


class Reading(NamedTuple):
    """What a process has used and holds, or several of them."""

    cpu_s: float = 0.0
    """User and system time since it started."""
    pss_bytes: int | None = None
    """Its private pages, and its part of the shared ones: these add up. None where the kernel does not tell us."""


def read_family(master: int) -> dict[int, Reading]:
    """The master and all that descends from it, what the app started too, by pid. Nothing if it is gone."""
    found: dict[int, Reading] = {}
    waiting = [master]
    while waiting:
        pid = waiting.pop()
        if pid not in found and (stat := read_stat(pid)) is not None:
            found[pid] = Reading(stat.cpu_s, read_pss(pid))
            waiting += list_children(pid)
    return found


def add_up(readings: Iterable[Reading]) -> Reading:
    """The sum of what is known."""
    parts = list(readings)
    known = [part.pss_bytes for part in parts if part.pss_bytes is not None]
    return Reading(sum(part.cpu_s for part in parts), sum(known) if known else None)


def read_stat(pid: int) -> Stat | None:
    """None if it is gone."""
    data = _read(f"/proc/{pid}/stat", 1024)
    # The name before it is in parentheses, and may hold some itself.
    fields = data.rpartition(b") ")[2].split()
    if len(fields) < 22 or fields[0] in (b"Z", b"X"):
        return None
    times = [int(field) / TICKS_PER_S for field in fields[11:15]]
    return Stat(
        parent=int(fields[1]),
        started_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
        cpu_s=times[0] + times[1],
        reaped_cpu_s=times[2] + times[3],
    )


def read_pss(pid: int) -> int | None:
    """Its memory in bytes, each page divided by the number of those who share it. None if the kernel will not say: it
    is gone, or another user's, or has changed its user. Walks page tables: 1 ms, and more the larger it is.
    """
    for line in _read(f"/proc/{pid}/smaps_rollup", 4096).splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def list_children(pid: int) -> list[int]:
    """Those that are not reaped yet, without their own. Of all its threads: a subprocess is the child of one."""
    # The kernel's own lists, one for each thread, are quick: psutil looks at every process of the machine. See proc(5).
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # names are enough
    except OSError:
        return []
    lists = [_read(f"/proc/{pid}/task/{thread}/children", 65536) for thread in threads]
    if not any(lists) and not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        return _ask_psutil(pid)  # a kernel without such lists
    return [int(word) for data in lists for word in data.split()]


def read_command(pid: int) -> str:
    """Its command line, or what it has put there (`prefork: zygote shop gen=1`)."""
    return _read(f"/proc/{pid}/cmdline", 512).replace(b"\0", b" ").decode("utf-8", "replace").strip()


def _read(path: str, size: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(size) or b""
    except OSError:
        return b""


def _ask_psutil(pid: int) -> list[int]:
    import psutil  # noqa: PLC0415  # 2 MB that only such a kernel needs

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []
