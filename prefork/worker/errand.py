"""What a forked child is to do, and what it inherits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from prefork.ipc.messages import Boot, Fork
from prefork.serve.app import LoadedApp
from prefork.system.logs import lead_elsewhere

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls
    from prefork.system.app_output import AppOutput


class Inherited(NamedTuple):
    """The descriptors that a generation shares."""

    listener_fds: dict[int, int]
    """By the numbers that the master gave them."""
    scoreboard_fd: int
    log_fd: int | None
    """None: standard error."""
    access_log_fd: int | None
    """None: there is none."""
    tls_fd: int | None = None
    """Memory with the certificates, until the zygote has made a context of them. None: no TLS."""
    output: AppOutput | None = None
    """What the app prints, if it goes to the log. No descriptor, and of this process only."""

    def all(self) -> list[int]:
        """Every one of them."""
        others = (self.log_fd, self.access_log_fd, self.tls_fd)
        return [*self.listener_fds.values(), self.scoreboard_fd, *(fd for fd in others if fd is not None)]

    def reopen(self, what: Literal["log", "access-log"], fd: int) -> None:
        """Have the descriptor of this log lead to where `fd` does, and close that one."""
        ours = self.log_fd if what == "log" else self.access_log_fd
        if ours is not None:
            lead_elsewhere(ours, fd)
            if what == "log" and self.output is not None:
                self.output.look_again()
        os.close(fd)


class Errand(NamedTuple):
    """Everything a worker starts with."""

    boot: Boot
    inherited: Inherited
    app: LoadedApp | None
    """None: import it yourself."""
    fork: Fork
    channel_fd: int
    tls: Tls | None = None
