"""What the app forks does not keep our listeners: a child that outlives us would hold the port and answer nobody.

Descriptors close on exec, but `os.fork`, and multiprocessing where it forks, go on without one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress


class ForkGuard:
    """From now on whoever is forked off this process closes what `list_fds` names."""

    __slots__ = ("_list_fds",)

    def __init__(self, list_fds: Callable[[], Iterable[int]]) -> None:
        self._list_fds = list_fds
        os.register_at_fork(after_in_child=self._close)  # for as long as the process lives, and in its forks

    def watch(self, list_fds: Callable[[], Iterable[int]]) -> None:
        """They are named by something else now."""
        self._list_fds = list_fds

    def end(self) -> None:
        """Forks are our own from now on."""
        self._list_fds = tuple

    def _close(self) -> None:
        fds = list(self._list_fds())
        self._list_fds = tuple  # in a fork of the fork these numbers mean something else
        for fd in fds:
            with suppress(OSError):
                os.close(fd)
