"""How many CPUs may this process use?

The smaller of two: the CPUs in its affinity mask (cpusets included, for the kernel cuts the mask to them), and the CPU
time that the quotas of its cgroup and of *every ancestor* allow, in cgroup v1, v2 and both at once. Neither
`os.cpu_count()` nor `os.process_cpu_count()` knows quotas, so both over-fork in containers.

A quota of 2.5 CPUs counts as 2: a third worker would get the others throttled with it at the end of each period. 0.5
counts as 1. Whatever cannot be read limits nothing; this never raises.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec


class CpuCount(msgspec.Struct, frozen=True):
    """At least 1, and how it was found: `2 CPUs (affinity 2, cgroup quota 4.0 from /sys/fs/cgroup/kube)`."""

    count: int
    why: str


class Hierarchy(NamedTuple):
    """One cgroup hierarchy that may hold a CPU quota: where this process is in it, as /proc/self/cgroup says."""

    version: int
    path: str


class Mount(NamedTuple):
    """One mount of a cgroup hierarchy: `root` is the cgroup that is seen at `point`."""

    version: int
    root: str
    point: str


class Quota(NamedTuple):
    """So many CPUs' time, and the directory whose files say so."""

    cpus: float
    directory: str


def count_cpus(root: str = "/", affinity: int | None = None) -> CpuCount:
    """Count the CPUs this process may use. `root` and `affinity` stand in for the machine's in tests."""
    cpus = count_affinity() if affinity is None else affinity
    quota = min(find_quotas(root), default=None)
    count = cpus if quota is None else max(1, min(cpus, int(quota.cpus)))
    return CpuCount(count, _explain(count, cpus, quota))


def count_affinity() -> int:
    """The CPUs in the affinity mask; where there is no such mask (macOS), those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_quotas(root: str = "/") -> Iterator[Quota]:
    """Every CPU quota that holds for this process."""
    hierarchies = parse_hierarchies(_read(posixpath.join(root, "proc/self/cgroup")))
    mounts = parse_mounts(_read(posixpath.join(root, "proc/self/mountinfo")))
    for hierarchy in hierarchies:
        for mount in mounts:
            if mount.version == hierarchy.version:
                for directory in list_directories(mount, hierarchy.path):
                    cpus = _read_quota(posixpath.join(root, directory.lstrip("/")), mount.version)
                    if cpus is not None:
                        yield Quota(cpus, directory)


def parse_hierarchies(text: str) -> list[Hierarchy]:
    """The lines of /proc/self/cgroup that can hold a quota: `0::/path` (v2), `4:cpu,cpuacct:/path` (v1); cgroups(7)."""
    found = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if not separator or not path.startswith("/"):
            continue
        if number == "0" and not controllers:
            found.append(Hierarchy(2, path))
        elif "cpu" in controllers.split(","):
            found.append(Hierarchy(1, path))
    return found


def parse_mounts(text: str) -> list[Mount]:
    """The cgroup mounts of /proc/self/mountinfo that can hold a quota; proc_pid_mountinfo(5)."""
    found = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not separator or len(fields) < 5 or not kind:
            continue
        root, point = _unescape(fields[3]), _unescape(fields[4])
        if kind[0] == "cgroup2":
            found.append(Mount(2, root, point))
        elif kind[0] == "cgroup" and "cpu" in kind[-1].split(","):
            found.append(Mount(1, root, point))
    return found


def list_directories(mount: Mount, path: str) -> list[str]:
    """The directories of a process's cgroup and of its ancestors, as far as this mount shows them; innermost first.

    Paths and roots are seen from our cgroup namespace: `/..` stands for what is above its root (cgroup_namespaces(7)).
    """
    if ".." in path.split("/"):
        return []  # we are outside of what is mounted here, so its quotas are not ours
    if ".." in mount.root.split("/"):
        return [mount.point]  # an ancestor is mounted; the names between it and us are hidden from us
    if mount.root == "/":
        below = path
    elif path == mount.root or path.startswith(f"{mount.root}/"):
        below = path.removeprefix(mount.root)
    else:
        return []
    names = [name for name in below.split("/") if name]
    return [posixpath.join(mount.point, *names[:depth]) for depth in range(len(names), -1, -1)]


def parse_cpu_max(text: str) -> float | None:
    """CPUs from v2's cpu.max, `200000 100000` or `max 100000`; None for no limit."""
    quota, _, period = text.strip().partition(" ")
    return _divide(quota, period or "100000")


def parse_cfs(quota: str, period: str) -> float | None:
    """CPUs from v1's cpu.cfs_quota_us and cpu.cfs_period_us; None for no limit, which is -1 there."""
    return _divide(quota.strip(), period.strip())


def _divide(quota: str, period: str) -> float | None:
    # Only plain digits: "max", "-1" and anything the kernel never wrote are no limit.
    if not re.fullmatch(r"[0-9]{1,18}", quota) or not re.fullmatch(r"[0-9]{1,18}", period):
        return None
    return int(quota) / int(period) if int(quota) and int(period) else None


def _read_quota(directory: str, version: int) -> float | None:
    if version == 2:
        return parse_cpu_max(_read(posixpath.join(directory, "cpu.max")))
    quota = _read(posixpath.join(directory, "cpu.cfs_quota_us"))
    return parse_cfs(quota, _read(posixpath.join(directory, "cpu.cfs_period_us")))


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:  # pathlib costs milliseconds at every start
            return file.read().decode("utf-8", "surrogateescape")
    except OSError:  # not there, not ours to read, or the cgroup went away: no limit known
        return ""


def _unescape(field: str) -> str:
    """Mountinfo writes space, tab, newline and backslash as octal escapes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _explain(count: int, cpus: int, quota: Quota | None) -> str:
    said = "no cgroup quota"
    if quota is not None:
        # The reason travels as JSON, and bytes of a name that are no UTF-8 cannot.
        directory = quota.directory.encode(errors="replace").decode()
        said = f"cgroup quota {_show(quota.cpus)} from {directory}"
    return f"{count} CPU{'' if count == 1 else 's'} (affinity {cpus}, {said})"


def _show(cpus: float) -> str:
    return f"{cpus:.1f}" if cpus * 10 == int(cpus * 10) else f"{cpus:.2f}"
