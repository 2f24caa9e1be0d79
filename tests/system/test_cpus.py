"""Counting CPUs: fixtures from real machines, and a fake root directory with the files the kernel would show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefork.system.cpus import (
    CpuCount,
    Hierarchy,
    Mount,
    count_affinity,
    count_cpus,
    list_directories,
    parse_cfs,
    parse_cpu_max,
    parse_hierarchies,
    parse_mounts,
)

CGROUP_V1 = """\
12:pids:/docker/abc
11:cpuset:/docker/abc
4:cpu,cpuacct:/docker/abc
1:name=systemd:/docker/abc
"""
CGROUP_HYBRID = "9:name=systemd:/\n1:cpu:/batch/job\n0::/system.slice/shop.service\n"

MOUNTS_V2 = """\
22 27 0:20 / /proc rw,nosuid - proc proc rw
30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
"""
MOUNTS_V1 = """\
31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755
32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 /docker/abc /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset
"""
MOUNTS_HYBRID = """\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("text", "hierarchies"),
    [
        ("0::/user.slice\n", [Hierarchy(2, "/user.slice")]),
        ("0::/a:b\n", [Hierarchy(2, "/a:b")]),
        (CGROUP_V1, [Hierarchy(1, "/docker/abc")]),
        (CGROUP_HYBRID, [Hierarchy(1, "/batch/job"), Hierarchy(2, "/system.slice/shop.service")]),
        ("", []),
        ("garbage\n5:cpu\n:::\n\n", []),
    ],
)
def test_the_hierarchies_that_can_hold_a_quota_are_found(text: str, hierarchies: list[Hierarchy]) -> None:
    assert parse_hierarchies(text) == hierarchies


@pytest.mark.parametrize(
    ("text", "mounts"),
    [
        (MOUNTS_V2, [Mount(2, "/", "/sys/fs/cgroup")]),
        (MOUNTS_V1, [Mount(1, "/docker/abc", "/sys/fs/cgroup/cpu,cpuacct")]),
        (MOUNTS_HYBRID, [Mount(1, "/", "/sys/fs/cgroup/cpu"), Mount(2, "/", "/sys/fs/cgroup/uni fied")]),
        ("", []),
        ("garbage - cgroup2\n1 2 - \n", []),
    ],
)
def test_the_mounts_that_can_hold_a_quota_are_found(text: str, mounts: list[Mount]) -> None:
    assert parse_mounts(text) == mounts


@pytest.mark.parametrize(
    ("root", "path", "directories"),
    [
        ("/", "/", ["/cg"]),
        ("/", "/a/b", ["/cg/a/b", "/cg/a", "/cg"]),
        ("/docker/abc", "/docker/abc", ["/cg"]),
        ("/docker/abc", "/docker/abc/sub", ["/cg/sub", "/cg"]),
        ("/docker/abc", "/docker/abcdef", []),
        ("/docker/abc", "/", []),
        # A cgroup namespace: what lies above its root is shown as `..`.
        ("/..", "/", ["/cg"]),
        ("/../..", "/inner", ["/cg"]),
        ("/", "/..", []),
        ("/", "/../../other", []),
    ],
)
def test_a_process_is_under_its_cgroup_and_every_ancestor_that_is_mounted(
    root: str, path: str, directories: list[str]
) -> None:
    assert list_directories(Mount(2, root, "/cg"), path) == directories


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("200000 100000\n", 2.0),
        ("50000 100000\n", 0.5),
        ("25000 10000", 2.5),
        ("150000", 1.5),
        ("max 100000\n", None),
        ("max", None),
        ("", None),
        ("100000 0", None),
        ("0 100000", None),
        ("-1 100000", None),
        ("nonsense here", None),
        ("9" * 5000 + " 1", None),
    ],
)
def test_cpu_max_is_a_number_of_cpus_or_no_limit(text: str, cpus: float | None) -> None:
    assert parse_cpu_max(text) == cpus


@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [
        ("400000\n", "100000\n", 4.0),
        ("-1\n", "100000\n", None),
        ("100000", "0", None),
        ("", "100000", None),
        ("100000", "", None),
    ],
)
def test_a_cfs_quota_is_a_number_of_cpus_or_no_limit(quota: str, period: str, cpus: float | None) -> None:
    assert parse_cfs(quota, period) == cpus


class Machine:
    """A root directory with what the kernel shows of one process."""

    def __init__(self, root: Path, cgroup: str, mounts: str, quotas: dict[str, str]) -> None:
        self.root = root
        for name, text in {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, **quotas}.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def count(self, affinity: int = 8) -> CpuCount:
        return count_cpus(str(self.root), affinity)


V2 = "/sys/fs/cgroup"
V1 = "/sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("cgroup", "mounts", "quotas", "counted"),
    [
        (
            "0::/\n",
            MOUNTS_V2,
            {f"{V2}/cgroup.procs": ""},
            CpuCount(8, "8 CPUs (affinity 8, no cgroup quota)"),
        ),
        (
            "0::/kube/pod\n",
            MOUNTS_V2,
            {f"{V2}/kube/pod/cpu.max": "400000 100000"},
            CpuCount(4, "4 CPUs (affinity 8, cgroup quota 4.0 from /sys/fs/cgroup/kube/pod)"),
        ),
        (  # the parent is tighter than its child
            "0::/kube/pod\n",
            MOUNTS_V2,
            {f"{V2}/kube/pod/cpu.max": "max 100000", f"{V2}/kube/cpu.max": "200000 100000"},
            CpuCount(2, "2 CPUs (affinity 8, cgroup quota 2.0 from /sys/fs/cgroup/kube)"),
        ),
        (  # a quota above the affinity limits nothing, and is told
            "0::/kube\n",
            MOUNTS_V2,
            {f"{V2}/kube/cpu.max": "1600000 100000"},
            CpuCount(8, "8 CPUs (affinity 8, cgroup quota 16.0 from /sys/fs/cgroup/kube)"),
        ),
        (
            "0::/\n",
            MOUNTS_V2,
            {f"{V2}/cpu.max": "50000 100000"},
            CpuCount(1, "1 CPU (affinity 8, cgroup quota 0.5 from /sys/fs/cgroup)"),
        ),
        (
            "0::/\n",
            MOUNTS_V2,
            {f"{V2}/cpu.max": "250000 100000"},
            CpuCount(2, "2 CPUs (affinity 8, cgroup quota 2.5 from /sys/fs/cgroup)"),
        ),
        (  # docker on v1: the mount's root is our own cgroup
            CGROUP_V1,
            MOUNTS_V1,
            {
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            CpuCount(1, "1 CPU (affinity 8, cgroup quota 1.5 from /sys/fs/cgroup/cpu,cpuacct)"),
        ),
        (  # hybrid: v1 has the cpu controller, v2 the processes; an ancestor holds the quota
            CGROUP_HYBRID,
            MOUNTS_HYBRID,
            {
                f"{V1}/batch/job/cpu.cfs_quota_us": "-1\n",
                f"{V1}/batch/job/cpu.cfs_period_us": "100000\n",
                f"{V1}/batch/cpu.cfs_quota_us": "300000\n",
                f"{V1}/batch/cpu.cfs_period_us": "100000\n",
                "/sys/fs/cgroup/uni fied/system.slice/cpu.max": "max 100000",
            },
            CpuCount(3, "3 CPUs (affinity 8, cgroup quota 3.0 from /sys/fs/cgroup/cpu/batch)"),
        ),
        (  # both have one: the tighter counts
            CGROUP_HYBRID,
            MOUNTS_HYBRID,
            {
                f"{V1}/batch/cpu.cfs_quota_us": "300000\n",
                f"{V1}/batch/cpu.cfs_period_us": "100000\n",
                "/sys/fs/cgroup/uni fied/system.slice/cpu.max": "233333 100000",
            },
            CpuCount(2, "2 CPUs (affinity 8, cgroup quota 2.33 from /sys/fs/cgroup/uni fied/system.slice)"),
        ),
        (  # outside of the namespace's root: what is mounted there is not ours
            "0::/../other\n",
            MOUNTS_V2,
            {f"{V2}/cpu.max": "100000 100000"},
            CpuCount(8, "8 CPUs (affinity 8, no cgroup quota)"),
        ),
        ("\udcff", "", {}, CpuCount(8, "8 CPUs (affinity 8, no cgroup quota)")),
    ],
)
def test_the_tightest_quota_of_all_ancestors_counts_and_is_named(
    tmp_path: Path, cgroup: str, mounts: str, quotas: dict[str, str], counted: CpuCount
) -> None:
    machine = Machine(tmp_path, cgroup.encode("utf-8", "replace").decode(), mounts, quotas)
    assert machine.count() == counted


def test_the_affinity_counts_where_it_is_tighter(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/\n", MOUNTS_V2, {f"{V2}/cpu.max": "400000 100000"})
    assert machine.count(affinity=3) == CpuCount(
        3, "3 CPUs (affinity 3, cgroup quota 4.0 from /sys/fs/cgroup)"
    )


def test_without_proc_the_affinity_counts(tmp_path: Path) -> None:
    assert count_cpus(str(tmp_path), 2) == CpuCount(2, "2 CPUs (affinity 2, no cgroup quota)")


def test_files_that_cannot_be_read_limit_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/kube\n", MOUNTS_V2, {f"{V2}/kube/x": ""})
    (tmp_path / "sys/fs/cgroup/kube/cpu.max").mkdir()  # EISDIR, which root is refused too
    (tmp_path / "sys/fs/cgroup/cpu.max").write_bytes(b"\xff\xfe")
    assert machine.count() == CpuCount(8, "8 CPUs (affinity 8, no cgroup quota)")


def test_a_cgroup_whose_name_is_no_utf8_is_read_and_told_as_text(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff")
    machine = Machine(tmp_path, "", MOUNTS_V2, {f"{V2}/{odd}/cpu.max": "100000 100000"})
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/\xff\n")
    assert machine.count() == CpuCount(1, "1 CPU (affinity 8, cgroup quota 1.0 from /sys/fs/cgroup/?)")


def test_this_machine_can_be_counted() -> None:
    counted = count_cpus()
    assert 1 <= counted.count <= count_affinity()
    assert counted.why.startswith(f"{counted.count} CPU")
