"""What a forked child is to do, and what it inherits."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from prefork.ipc.messages import Boot, Fork
from prefork.serve.app import LoadedApp


class Inherited(NamedTuple):
    """The descriptors that a generation shares."""

    listener_fds: dict[int, int]
    """By the numbers that the master gave them."""
    scoreboard_fd: int
    log_fd: int | None
    """None: standard error."""
    access_log_fd: int | None
    """None: there is none."""

    def all(self) -> list[int]:
        """Every one of them."""
        logs = [fd for fd in (self.log_fd, self.access_log_fd) if fd is not None]
        return [*self.listener_fds.values(), self.scoreboard_fd, *logs]

    def reopen(self, what: Literal["log", "access-log"], fd: int) -> None:
        """Have the descriptor of this log lead to where `fd` does, and close that one."""
        ours = self.log_fd if what == "log" else self.access_log_fd
        if ours is not None:
            os.dup2(fd, ours, inheritable=False)
        os.close(fd)


class Errand(NamedTuple):
    """Everything a worker starts with."""

    boot: Boot
    inherited: Inherited
    app: LoadedApp | None
    """None: import it yourself."""
    fork: Fork
    channel_fd: int
