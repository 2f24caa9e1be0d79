"""A zygote's interpreter, before it knows what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from prefork.ipc.starting import SAFE_PATH, ZYGOTE_CODE
from prefork.system import processes
from prefork.system.processes import is_gone, reap
from prefork.system.spawning import spawn_zygote
from tests.integration.running import wait_until
from tests.system.children import list_fds


def test_it_is_idle_until_somebody_takes_it_and_leaves_nothing_when_discarded() -> None:
    before = list_fds()
    spawned = spawn_zygote()
    assert spawned.is_idle()
    assert not is_gone(spawned.pid, None)
    assert spawned.take() is spawned
    assert not spawned.is_idle()
    spawned.discard()
    assert is_gone(spawned.pid, None)
    with pytest.raises(ChildProcessError):
        os.waitpid(spawned.pid, 0)
    assert list_fds() <= before


def test_it_ends_by_itself_when_the_master_does() -> None:
    spawned = spawn_zygote()
    spawned.channel.close()
    ended = wait_until(lambda: reap(spawned.pid), "its end")
    assert ended == (spawned.pid, 0)


def test_one_that_cannot_be_started_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(python: str, code: str, argv: list[str], pass_fd: int) -> int:
        raise BlockingIOError("no process left")

    before = list_fds()
    start: Callable[[str, str, list[str], int], int] = refuse
    monkeypatch.setattr(processes, "start_python", start)
    with pytest.raises(BlockingIOError):
        spawn_zygote()
    assert list_fds() <= before


def test_the_app_does_not_inherit_how_its_interpreter_was_started() -> None:
    code = ZYGOTE_CODE.split("try:")[0] + "print(os.environ.get('PYTHONSAFEPATH'), '' in sys.path)"
    for own, expected in ((SAFE_PATH, "None False\n"), ("1", "1 False\n")):
        environment = {**os.environ, "PYTHONSAFEPATH": own}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stdout == expected
