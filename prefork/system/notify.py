"""Tell the service manager: datagrams to NOTIFY_SOCKET, as sd_notify(3) has it. Never blocks, needs no library.

The variables are the manager's word to this process alone: `processes.start_python` passes them to nobody.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from prefork.config.addresses import MAX_UNIX_PATH_BYTES


class Manager:
    """Who started us and wants to hear of it."""

    __slots__ = ("_address", "_sock", "name")

    def __init__(self, address: str) -> None:
        self.name = address
        # unix(7): the name of an abstract socket begins with a NUL, which nobody can put into a variable.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)

    def tell(self, text: str) -> None:
        """Send one notice, now. Raises OSError: BlockingIOError if the manager does not read, others if it is gone."""
        self._sock.sendto(text.encode(), socket.MSG_NOSIGNAL, self._address)

    def close(self) -> None:
        """Nothing more will be told."""
        self._sock.close()


def find_manager(address: str) -> Manager:
    """The one that NOTIFY_SOCKET names: a path, or an abstract name after `@`. Raises OSError for anything else
    (`vsock:…`), and where there is no socket to be had.
    """
    if address[0] not in "/@" or len(os.fsencode(address)) > MAX_UNIX_PATH_BYTES:
        raise OSError(errno.EAFNOSUPPORT, "neither a path nor an abstract name of a unix socket")
    return Manager(address)


def find_watchdog_s(environ: Mapping[str, str], pid: int) -> float:
    """How long the manager waits for a sign of life, in seconds; 0.0 if it does not, or not for ours.

    See sd_watchdog_enabled(3).
    """
    text = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid) or not (text.isascii() and text.isdecimal()):
        return 0.0
    return int(text) / 1e6
