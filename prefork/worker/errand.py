"""What a forked child is to do, and what it inherits."""

from __future__ import annotations

from typing import NamedTuple

from prefork.ipc.messages import Boot, Fork
from prefork.serve.app import LoadedApp


class Inherited(NamedTuple):
    """The descriptors that a generation shares."""

    listener_fds: dict[int, int]
    """By the numbers that the master gave them."""
    scoreboard_fd: int
    log_fd: int | None
    """None: standard error."""


class Errand(NamedTuple):
    """Everything a worker starts with."""

    boot: Boot
    inherited: Inherited
    app: LoadedApp | None
    """None: import it yourself."""
    fork: Fork
    channel_fd: int
