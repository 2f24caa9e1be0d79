"""How much memory is ours: what we share with a parent is not."""

from __future__ import annotations

import sys

import pytest

from prefork.system import memory
from tests.system.children import run_python

MB = 2**20


def test_what_is_allocated_is_resident_and_our_own() -> None:
    before = memory.read_own()
    held = b"x" * (64 * MB)
    assert 60 * MB < memory.read_own() - before < 100 * MB
    assert memory.read_resident() >= memory.read_own() - MB
    del held


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_what_a_fork_shares_is_resident_and_not_its_own() -> None:
    run_python("""
import os
from prefork.system import memory
held = b"x" * (64 * 2**20)
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, b"%d %d" % (memory.read_own(), memory.read_resident()))
    os._exit(0)
own, resident = map(int, os.read(read, 100).split())
os.wait()
assert own < 32 * 2**20 < 64 * 2**20 < resident, (own, resident)
""")
