"""Real processes, as /proc shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from prefork.system.usage import Reading, add_up, read_family, read_stat

CHILD = """
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(grandchild.pid, flush=True)
input()
grandchild.communicate(b"\\n")
"""

THREADED = """
import subprocess, sys, threading
def start():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    print(child.pid, flush=True)
    input()
    child.communicate(b"\\n")
thread = threading.Thread(target=start)
thread.start()
thread.join()
"""


@pytest.fixture
def parent() -> Iterator[tuple[int, int]]:
    """The pids of a process and of its child."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        yield child.pid, int(child.stdout.readline())
        child.communicate("\n", timeout=20)


def test_a_family_is_a_process_with_its_children_and_theirs(parent: tuple[int, int]) -> None:
    child, grandchild = parent

    family = read_family(child)
    assert set(family) == {child, grandchild}
    ours = read_family(os.getpid())
    assert {child, grandchild} < set(ours)
    assert ours[os.getpid()].cpu_s > 0
    for reading in (ours[pid] for pid in (os.getpid(), child, grandchild)):
        assert reading.pss_bytes is not None
        assert 1 << 18 < reading.pss_bytes < 1 << 30


def test_who_is_gone_has_no_reading() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    assert read_stat(child.pid) is None
    assert read_family(child.pid) == {}


def test_a_child_of_a_thread_is_of_the_family() -> None:
    # The kernel gives a child to the thread that forked it, and keeps a list for each.
    with subprocess.Popen(
        [sys.executable, "-c", THREADED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert set(read_family(child.pid)) == {child.pid, grandchild}
        child.communicate("\n", timeout=20)


def test_what_is_known_adds_up_and_what_is_not_is_no_nothing() -> None:
    assert add_up([Reading(1.0, 10), Reading(0.5, None), Reading(0.25, 5)]) == Reading(1.75, 15)
    assert add_up([Reading(1.0, None)]) == Reading(1.0, None)
    assert add_up([]) == Reading()
