"""Shared memory: one fixed-size row per worker process, one writer per row, no locks.

Made by the master before any fork and inherited by descriptor. A row is 64 aligned unsigned 64-bit numbers (eight
cache lines), so that a store is atomic on every machine we run on and two workers never share a line.

The first line is written when something happens, and is true also of a worker that was killed:

    0 tick          monotonic nanoseconds of the last beat of the serving loop, 0 before the first
    1 connections   open now
    2 in_flight     requests begun and not answered
    3 requests      answered since the worker started (HTTP: as of the last beat)
    4 opening       accepted, and not a connection yet
    5 accepted      since the worker started
    6 in_rotation   1 while it takes connections
    7 taken         of those that the master handed over: as many are counted in `connections`, or have been

The rest is what the worker counts in its own memory, where that costs a fraction, and copies here at each beat and
before it ends; of a worker that was killed it lacks what happened since the last beat:

    8…12            responses by the class of their status, 1xx to 5xx, those to malformed requests with them
    13 bytes_in     read from clients
    14 bytes_out    of responses, heads with them, the framing of chunks left out
    15 busy_ns      CPU time of the thread that runs the loop
    16 lag_ns       how late the last beat was
    17 shed         connections that were asked to leave because others had far fewer
    18 pid          of the worker, once it is ready to say so
    19…31           not used yet
    32…63 latency   requests by the time from their head to the end of their response: see `figures.BUCKETS`. Of
                    HTTP, and of connections that are timed: see `serve/tally.py`

Before the rows there is one more of the same size, the master's: its first number says how many rows may be in use.
The master reads rows as claims: app code runs in the writer.
"""

from __future__ import annotations

import mmap
import os

from prefork.core.figures import BUCKETS, CLASSES, Record

ROWS = 1024
ROW_NUMBERS = 64
ROW_BYTES = ROW_NUMBERS * 8
TICK, CONNECTIONS, IN_FLIGHT, REQUESTS, OPENING, ACCEPTED, IN_ROTATION, TAKEN = range(8)
STATUSES, BYTES_IN, BYTES_OUT, BUSY_NS, LAG_NS, SHED, PID = 8, 13, 14, 15, 16, 17, 18
LATENCY = 32

_EMPTY = memoryview(bytes(ROW_BYTES)).cast("Q")


class Scoreboard:
    """The whole table, mapped. The memory lives as long as any process maps it."""

    __slots__ = ("_header", "_map", "cells", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, (1 + ROWS) * ROW_BYTES)
        numbers = memoryview(self._map).cast("Q")
        self._header = numbers[:ROW_NUMBERS]
        self.cells = numbers[ROW_NUMBERS:]

    @property
    def rows_used(self) -> int:
        """No row from this one on is anybody's. The master writes it."""
        number: int = self._header[0]
        return number

    @rows_used.setter
    def rows_used(self, number: int) -> None:
        self._header[0] = number

    def row(self, index: int) -> memoryview:
        """The numbers of one row, writable in place."""
        return self.cells[index * ROW_NUMBERS : (index + 1) * ROW_NUMBERS]

    def column(self, number: int, first: int, end: int) -> list[int]:
        """The same number of each row from `first` to before `end`, read in one go."""
        found: list[int] = self.cells[first * ROW_NUMBERS + number : end * ROW_NUMBERS : ROW_NUMBERS].tolist()
        return found

    def clear_row(self, index: int) -> None:
        """Before a row gets a new writer."""
        self.row(index)[:] = _EMPTY

    def read(self, index: int) -> Record:
        """Everything that the writer of that row says. Single numbers are whole, but not of the same moment."""
        row = self.row(index).tolist()
        return Record(
            tick_ns=row[TICK],
            connections=row[CONNECTIONS],
            in_flight=row[IN_FLIGHT],
            requests=row[REQUESTS],
            opening=row[OPENING],
            accepted=row[ACCEPTED],
            in_rotation=bool(row[IN_ROTATION]),
            statuses=tuple(row[STATUSES : STATUSES + CLASSES]),
            bytes_in=row[BYTES_IN],
            bytes_out=row[BYTES_OUT],
            busy_ns=row[BUSY_NS],
            lag_ns=row[LAG_NS],
            shed=row[SHED],
            latency=tuple(row[LATENCY : LATENCY + BUCKETS]),
        )

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
    os.ftruncate(fd, (1 + ROWS) * ROW_BYTES)
    return Scoreboard(fd)
