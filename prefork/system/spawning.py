"""Start the interpreter of a zygote or of a helper of the master's: a fresh one that knows only its end of a channel.

It may be started before anybody knows what it shall import: an interpreter needs longer to start than a command line
to be read, and both can happen at once. Imports next to nothing, for it runs before the rest of the program is loaded.
"""

from __future__ import annotations

import os
import signal
import sys

from prefork.ipc.starting import ADMIN_CODE, CHOOSER_CODE, PROTOCOL, WATCHER_CODE, ZYGOTE_CODE
from prefork.system import processes
from prefork.system.channel import Channel, open_pair


class Spawned:
    """An interpreter that waits for its orders."""

    __slots__ = ("_was_taken", "channel", "pid")

    def __init__(self, pid: int, channel: Channel) -> None:
        self.pid = pid
        self.channel = channel
        self._was_taken = False

    def take(self) -> Spawned:
        """From now on it is the caller's."""
        self._was_taken = True
        return self

    def is_idle(self) -> bool:
        """Did nobody take it?"""
        return not self._was_taken

    def discard(self) -> None:
        """It is not needed: end it and reap it."""
        self.channel.close()
        processes.send_signal(self.pid, None, signal.SIGKILL)
        processes.wait_for_end(self.pid)


def spawn_zygote(python: str = sys.executable) -> Spawned:
    """Exec it. Raises OSError."""
    return _spawn(python, ZYGOTE_CODE)


def spawn_watcher(python: str = sys.executable) -> Spawned:
    """Exec it. Raises OSError."""
    return _spawn(python, WATCHER_CODE)


def spawn_chooser(python: str = sys.executable) -> Spawned:
    """Exec it. Raises OSError."""
    return _spawn(python, CHOOSER_CODE)


def spawn_admin(python: str = sys.executable) -> Spawned:
    """Exec it. Raises OSError."""
    return _spawn(python, ADMIN_CODE)


def _spawn(python: str, code: str) -> Spawned:
    channel, theirs = open_pair()
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        pid = processes.start_python(
            python, code, [home, str(theirs.fileno()), str(PROTOCOL)], theirs.fileno()
        )
    except BaseException:
        channel.close()
        raise
    finally:
        theirs.close()
    return Spawned(pid, channel)
