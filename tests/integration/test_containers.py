"""As PID 1, and as the parent of strangers: everybody who ends is reaped, and a stop ends."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.integration.conftest import Start
from tests.integration.running import Running, is_alive, read_title, wait_until


def can_unshare() -> bool:
    try:
        done = subprocess.run(
            ["unshare", "-pf", "--mount-proc", "true"], check=False, capture_output=True, timeout=10
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or not can_unshare(), reason="needs root and unshare(1)")
def test_as_pid_1_it_reaps_strangers_and_stops(start: Start) -> None:
    running = start("orphans:app", "--workers", "2", prefix=("unshare", "-pf", "--mount-proc"))
    (master,) = running.find_role("master")
    assert running.find_records("listening")[0].pid == 1

    for _ in range(5):
        assert running.get().status == 200
    wait_until(lambda: running.find_zombies() == [] and count_sleeps(running) == 0, "the orphans' end")
    running.workers[0].kill()
    running.wait_workers(2)
    assert running.find_zombies() == []

    master.send_signal(signal.SIGTERM)
    assert running.wait_exit() == 0
    assert not is_alive(master)


def test_orphans_of_the_app_are_reaped(start: Start) -> None:
    running = start("orphans:app", "--workers", "2")
    for _ in range(5):
        assert running.get().status == 200

    wait_until(lambda: running.find_zombies() == [] and count_sleeps(running) == 0, "the orphans' end")

    assert len(running.wait_workers(2)) == 2


def count_sleeps(running: Running) -> int:
    return sum(1 for process in running.find_processes() if read_title(process).startswith("sleep "))
