"""The other way in: connections that the master has accepted, and handed to this worker.

They go where accepted ones go (`Acceptor.admit`). What was received is acknowledged first, before a byte of it is read:
until then the master may give it to another worker, if this one ends (see `system/handover.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os

from prefork.system import clock
from prefork.system.handover import Inlet
from prefork.system.scoreboard import TAKEN
from prefork.worker.accepting import COMPLAIN_EVERY_S, Acceptor
from prefork.worker.connecting import find_stream_kind

logger = logging.getLogger("prefork.worker")


class Taker:
    """Reads the inlet for as long as the worker lives: while it drains, what was handed to it before is answered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, acceptor: Acceptor, row: memoryview, fd: int) -> None:
        self._loop = loop
        self._acceptor = acceptor
        self._row = row
        self._inlet = Inlet(fd)
        self._complained_at = -COMPLAIN_EVERY_S
        loop.add_reader(fd, self._take)

    def fileno(self) -> int:
        """Of the inlet; -1 once it is closed."""
        return self._inlet.fileno()

    def take_all(self) -> None:
        """Whatever has been handed over so far."""
        while self._inlet.fileno() >= 0 and self._take():
            pass

    def close(self) -> None:
        """Take no more: what is on its way is the master's again, once we have ended. Twice is fine."""
        if self._inlet.fileno() >= 0:
            self._loop.remove_reader(self._inlet.fileno())
            self._inlet.close()

    def _take(self) -> bool:
        """One message; False if there was none."""
        handed = self._inlet.receive()
        if handed is None:
            if self._inlet.is_over:
                self.close()
            return False
        if len(handed.fds) < handed.sent:
            self._complain()
        if not self._inlet.acknowledge(handed.sequence, len(handed.fds)):
            for fd in handed.fds:  # they are not ours
                os.close(fd)
            return True
        for fd in handed.fds:
            self._acceptor.admit(fd, find_stream_kind(fd), self._count)
        return True

    def _count(self) -> None:
        # Now it is among the open ones, or was, or never will be.
        self._row[TAKEN] += 1

    def _complain(self) -> None:
        now = clock.monotonic()
        if now >= self._complained_at + COMPLAIN_EVERY_S:
            self._complained_at = now
            logger.warning("cannot take connections: too many open files")
