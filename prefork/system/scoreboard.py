"""Shared memory: one fixed-size row per worker process, one writer per row, no locks.

Made by the master before any fork and inherited by descriptor. A row is eight aligned unsigned 64-bit numbers (one
cache line), so that a store is atomic on every machine we run on and two workers never share a line:

    0 tick          monotonic nanoseconds of the last beat of the serving loop, 0 before the first
    1 connections   open now
    2 in_flight     requests begun and not answered
    3 requests      answered since the worker started
    4 taken         of those that the master handed over: as many are counted in `connections`, or have been
    5…7             not used yet

The master reads rows as claims: app code runs in the writer.
"""

from __future__ import annotations

import mmap
import os

ROWS = 1024
ROW_NUMBERS = 8
ROW_BYTES = ROW_NUMBERS * 8
TICK, CONNECTIONS, IN_FLIGHT, REQUESTS, TAKEN = range(5)


class Scoreboard:
    """The whole table, mapped. The memory lives as long as any process maps it."""

    __slots__ = ("_map", "cells", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, ROWS * ROW_BYTES)
        self.cells = memoryview(self._map).cast("Q")

    def row(self, index: int) -> memoryview:
        """The eight numbers of one row, writable in place."""
        return self.cells[index * ROW_NUMBERS : (index + 1) * ROW_NUMBERS]

    def clear_row(self, index: int) -> None:
        """Before a row gets a new writer."""
        start = index * ROW_NUMBERS
        for cell in range(start, start + ROW_NUMBERS):
            self.cells[cell] = 0

    def connections(self, index: int) -> int:
        """Connections that the writer of that row has open."""
        number: int = self.cells[index * ROW_NUMBERS + CONNECTIONS]
        return number

    def in_flight(self, index: int) -> int:
        """Requests that the writer of that row has begun and not answered."""
        number: int = self.cells[index * ROW_NUMBERS + IN_FLIGHT]
        return number

    def tick_s(self, index: int) -> float:
        """The last beat of that row in monotonic seconds, 0.0 for never."""
        tick_ns: int = self.cells[index * ROW_NUMBERS + TICK]
        return tick_ns / 1e9


def make_scoreboard() -> Scoreboard:
    """A new table of zeros, named nowhere; its descriptor closes on exec unless passed on."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("prefork-scoreboard", os.MFD_CLOEXEC)
    else:
        import tempfile  # noqa: PLC0415 only where the kernel has no memfd, and it costs 1 MB

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, ROWS * ROW_BYTES)
    return Scoreboard(fd)
