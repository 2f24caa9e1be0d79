"""A fork of the app's keeps nothing that the guard watches; a fork of ours keeps everything."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import os, sys
from prefork.system.fork_guard import ForkGuard

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

def fork_and_look(fd):
    pid = os.fork()
    if pid == 0:
        os._exit(is_open(fd))
    return bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

watched, other = os.pipe()
guard = ForkGuard([watched].copy)
told = [fork_and_look(watched), fork_and_look(other), is_open(watched)]
pid = os.fork()
if pid == 0:
    reused = os.open("/dev/null", os.O_RDONLY)
    os._exit(reused == watched and fork_and_look(reused))
told.append(bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
guard.end()
told.append(fork_and_look(watched))
print(told)
"""


def test_forks_close_what_is_watched_once_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "[False, True, True, True, True]\n", done.stderr
