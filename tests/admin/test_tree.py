"""The service's processes are found from the master down, and its CPU time never goes back."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from prefork.admin.tree import Tree
from prefork.system import clock
from tests.admin.statuses import STATUS

BURNS = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"


def test_processes_have_roles_and_memory_and_the_cpu_time_of_the_dead_still_counts() -> None:
    child = subprocess.Popen([sys.executable, "-c", BURNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"\n"
    status = msgspec.structs.replace(
        STATUS, pid=os.getpid(), workers=(msgspec.structs.replace(STATUS.workers[0], pid=child.pid),)
    )
    tree = Tree()
    first = tree.read(status)
    roles = {process.pid: process.role for process in first.list}
    assert (roles[os.getpid()], roles[child.pid]) == ("master", "worker")
    worker = next(process for process in first.list if process.pid == child.pid)
    assert worker.pss_bytes is not None
    assert 1_000_000 < worker.pss_bytes <= worker.rss_bytes
    assert 0.15 < worker.cpu_s < clock.cpu_s() + 5
    child.communicate(b"\n")
    second = tree.read(status)
    assert child.pid not in {process.pid for process in second.list}
    assert first.cpu_s <= second.cpu_s < first.cpu_s + 1


def test_memory_is_read_again_only_after_a_while() -> None:
    tree = Tree()
    status = msgspec.structs.replace(STATUS, pid=os.getpid(), workers=())
    [before, *_] = tree.read(status).list
    kept = bytearray(os.urandom(1)) * 100_000_000
    [after, *_] = tree.read(status).list
    assert after.rss_bytes > before.rss_bytes + 10_000_000
    assert after.pss_bytes == before.pss_bytes
    del kept


def test_a_service_that_is_gone_has_no_processes() -> None:
    assert Tree().read(msgspec.structs.replace(STATUS, pid=2**22 + 1)) == ((), 0.0)
