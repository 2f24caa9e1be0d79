"""Fresh interpreters for what a test must not do to itself: fork, drop root, run out of descriptors, hang."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_S = 20.0
NOBODY = 65534

# Root may write everywhere: what nobody may not do is only seen as nobody.
BECOME_NOBODY = f"""
import os
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


def run_python(code: str, *arguments: str | Path | int, pass_fds: Sequence[int] = ()) -> str:
    """Run it to its end and return what it printed; a test that fails shows its traceback."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        pass_fds=pass_fds,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def list_fds() -> set[int]:
    """The descriptors of this process, to see that none stays behind. Some of before may be gone by then: what other
    tests left to the garbage collector is collected at any time.
    """
    listed = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 numbers, not paths
    return {fd for fd in listed if is_open(fd)}


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
