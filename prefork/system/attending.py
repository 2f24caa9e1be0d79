"""How a helper of the master's begins: the watcher, the chooser, the admin process.

Each is a fresh interpreter that serves its master and nobody else: signals for the service are not for it, it inherits
nothing but its channel, and it dies when its master does.
"""

from __future__ import annotations

import os
import signal
import socket

from prefork.system import privileges, processes, signals
from prefork.system.channel import Channel


def attend_master(argv: list[str]) -> Channel:
    """First of all. `argv`: where the master's prefork is, and the channel's descriptor."""
    signals.ignore(
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2
    )
    processes.die_with_parent(die=True)
    fd = int(argv[1])
    os.set_inheritable(fd, False)
    processes.close_descriptors_except(frozenset({fd}))
    return Channel(socket.socket(fileno=fd))


def change_identity(user: str | None, group: str | None) -> None:
    """Become the workers' user, and still die with the master. Raises `PreforkError`."""
    privileges.become(privileges.find_identity(user, group))
    processes.die_with_parent(die=True)  # a change of identity clears it
