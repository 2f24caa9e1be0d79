"""What a background master tells whoever started it, over a pipe that it inherits: once, that it serves or why not.

The pipe's first line is the pid (`system/detaching.py`), the second is JSON. Its end without one means that the program
ended without a word. Nobody polls, and nobody takes a port that answers for the service.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from prefork.errors import AppError, PreforkError

if TYPE_CHECKING:
    from prefork.master.loop import Master


class Serving(msgspec.Struct, frozen=True, tag_field="is", tag="serving"):
    """Every worker is ready."""

    addresses: tuple[str, ...]
    workers: int
    interface: str


class Failed(msgspec.Struct, frozen=True, tag_field="is", tag="failed"):
    """It will not serve: the error that `prefork run` would have printed, and its exit code."""

    message: str
    exit_code: int
    hints: tuple[str, ...] = ()
    traceback: str = ""


Outcome = Serving | Failed


class Starter:
    """The end of whoever waits for us."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd

    def tell(self, outcome: Outcome) -> None:
        """Say it, and hang up. Never raises: who has left does not want to know."""
        if self._fd < 0:
            return
        with suppress(OSError):
            os.write(self._fd, msgspec.json.encode(outcome) + b"\n")
        with suppress(OSError):
            os.close(self._fd)
        self._fd = -1

    def tell_serving(self, master: Master) -> None:
        """The same of a master that serves."""
        addresses = tuple(listener.name() for listener in master.listeners)
        self.tell(Serving(addresses, master.config.workers, master.app.interface or ""))

    def tell_error(self, error: PreforkError) -> None:
        """The same for an error."""
        traceback = error.traceback if isinstance(error, AppError) else ""
        # A pipe takes 64 KB without a reader: pipe(7).
        self.tell(Failed(error.message[:4000], error.exit_code, error.hints, traceback[-32_000:]))
