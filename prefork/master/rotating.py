"""When a log has grown too large: the master alone renames it, and has everybody write to a new file.

Looked at now and then, not for each line: one fstat(2) a second and file. Nobody waits. Who has not yet heard of the
new file writes to the old one under its new name. What cannot be renamed is told once, and goes on growing.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable

from prefork.config.model import Config
from prefork.errors import PreforkError
from prefork.master.provisions import LogFile
from prefork.system import clock, rotation

logger = logging.getLogger("prefork.master")

LOOK_EVERY_S = 1.0
TRY_AGAIN_S = 60.0
"""After a rotation that failed; the line about it is not repeated as long as the reason is the same."""


class Rotating:
    """The log files of one master. `list_logs` says which there are, `reopen` has all write to the file that is at
    a log's path; it raises `PreforkError`.
    """

    def __init__(self, list_logs: Callable[[], list[LogFile]], reopen: Callable[[LogFile], None]) -> None:
        self._list_logs = list_logs
        self._reopen = reopen
        self._look_at: float | None = None
        self._failures: dict[str, str] = {}
        """Path → why it could not be rotated."""

    def next_deadline(self) -> float | None:
        """When to look again; None: never."""
        return self._look_at

    def tend(self, config: Config) -> None:
        """Look, if it is time."""
        if config.log_max_size_bytes == 0:
            self._look_at = None
            return
        now = clock.monotonic()
        if self._look_at is not None and now < self._look_at:
            return
        logs = self._list_logs()
        self._look_at = now + LOOK_EVERY_S if logs else None
        for log in logs:
            seen = os.fstat(log.fd)
            if seen.st_size > config.log_max_size_bytes and stat.S_ISREG(seen.st_mode):
                self._rotate(log, seen.st_size, config.log_keep)

    def _rotate(self, log: LogFile, size_bytes: int, keep: int) -> None:
        try:
            # Another's rename, or the same file under the other kind of log: there is nothing left to rename.
            is_ours = log.is_in_place()
            if is_ours:
                rotation.rotate(log.path, keep)
            try:
                self._reopen(log)
            except PreforkError:
                if is_ours:
                    rotation.take_back(log.path)
                raise
        except (OSError, PreforkError) as error:
            self._complain(
                log, (error.strerror or str(error)) if isinstance(error, OSError) else error.message
            )
            return
        self._failures.pop(log.path, None)
        if is_ours:
            logger.info("log rotated", extra={"path": log.path, "size_bytes": size_bytes})

    def _complain(self, log: LogFile, why: str) -> None:
        self._look_at = clock.monotonic() + TRY_AGAIN_S
        if self._failures.get(log.path) == why:
            return
        self._failures[log.path] = why
        logger.error(
            "log not rotated, it goes on growing",
            extra={"path": log.path, "why": why.lower(), "again_in_s": TRY_AGAIN_S},
        )
