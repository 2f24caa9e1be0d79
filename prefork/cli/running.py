"""Which of the services that are to be started run already? Asked of what was started here, and of the control sockets.

A service is the same if it has the name and the directory. One of that name elsewhere is another: it may run beside
ours, unless both would write one log.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

import msgspec

from prefork.cli.launched import read_record
from prefork.control.client import FIND_S, read_status
from prefork.control.places import VARIABLE, list_sockets
from prefork.errors import PreforkError


class Found(msgspec.Struct, frozen=True):
    """One that runs under a name."""

    pid: int
    chdir: str
    shares_log: bool
    """Would ours write to its log, and be taken for it afterwards?"""

    def is_in(self, chdir: str) -> bool:
        """Does it work in this directory?"""
        return posixpath.realpath(self.chdir) == posixpath.realpath(chdir)


def find_running(environ: Mapping[str, str], name: str, chdir: str) -> Found | None:
    """The one of this name: in this directory, if there is one there."""
    found = _list_found(environ, name)
    here = [each for each in found if each.is_in(chdir)]
    return next(iter(here or found), None)


def _list_found(environ: Mapping[str, str], name: str) -> list[Found]:
    found = []
    record = read_record(environ, name)
    if record is not None and record.is_running():
        found.append(Found(record.pid, record.chdir or record.directory, shares_log=True))
    for path in list_sockets(environ, os.geteuid()):
        # Nobody else is asked: a master that was stopped would let us wait.
        if posixpath.basename(path).startswith(name) or path == environ.get(VARIABLE):
            try:
                status = read_status(path, FIND_S)
            except PreforkError:  # stale, or another's
                continue
            if status.name == name:
                found.append(Found(status.pid, status.chdir, shares_log=False))
    return found
