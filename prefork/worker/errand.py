"""What a forked child is to do, and what it inherits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefork.ipc.messages import Boot, Fork
from prefork.serve.app import LoadedApp

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls


class Inherited(NamedTuple):
    """The descriptors that a generation shares."""

    listener_fds: dict[int, int]
    """By the numbers that the master gave them."""
    scoreboard_fd: int
    log_fd: int | None
    """None: standard error."""
    tls_fd: int | None = None
    """Memory with the certificates, until the zygote has made a context of them. None: no TLS."""


class Errand(NamedTuple):
    """Everything a worker starts with."""

    boot: Boot
    inherited: Inherited
    app: LoadedApp | None
    """None: import it yourself."""
    fork: Fork
    channel_fd: int
    tls: Tls | None = None
