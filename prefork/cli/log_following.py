"""What comes to a log, as it comes: across rotations, truncation, and a file that is not there yet.

Looks a few times a second. A file that was renamed is read until its last writers have heard of the new one; those that
were begun and renamed between two looks are found by their numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from prefork.cli.log_entries import Entry, group_forward
from prefork.system import rotation

READ_BYTES = 1 << 20
LOOKS_AFTER_RENAME = 20
"""So often a renamed file is looked at: whoever has not opened the new one still writes there."""
LINE_BYTES = 8 << 20
"""A line that has no end by then is shown as it is."""


class Reading:
    """One file, from a position on."""

    def __init__(self, fd: int, at: int) -> None:
        self.fd = fd
        self._at = at
        self._rest = b""
        self.looks_left = LOOKS_AFTER_RENAME
        self.last: Entry | None = None
        """What a line without a head belongs to."""

    def read_lines(self) -> list[bytes]:
        """Whole lines that were not there before."""
        if os.fstat(self.fd).st_size < self._at:  # it was emptied
            self._at, self._rest = 0, b""
        lines: list[bytes] = []
        while data := os.pread(self.fd, READ_BYTES, self._at):
            self._at += len(data)
            *whole, self._rest = (self._rest + data).split(b"\n")
            lines += whole
        if len(self._rest) > LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def take_rest(self) -> list[bytes]:
        """A last line without an end: nothing comes behind it any more."""
        return [self._rest] if self._rest else []

    def is_at(self, path: str) -> bool:
        """Is it the file of this name?"""
        return rotation.is_at(path, self.fd)

    def close(self) -> None:
        """It is of no interest any more."""
        os.close(self.fd)


class Follower:
    """One log. Not older than its construction: from `end` on there everything is told, once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._readings: list[Reading] = []
        """The oldest first; the last one is, or was, the file of that name."""
        self.end = 0
        """Where the following begins, in the file that is there now."""
        if (fd := _open(path)) is not None:
            self.end = os.fstat(fd).st_size
            self._readings.append(Reading(fd, self.end))

    def look(self) -> Iterator[Entry]:
        """What has come since."""
        self._find_new_files()
        for reading in list(self._readings):
            lines = reading.read_lines()
            if reading is not self._readings[-1]:
                reading.looks_left = LOOKS_AFTER_RENAME if lines else reading.looks_left - 1
                if reading.looks_left <= 0:
                    lines += reading.take_rest()
                    self._readings.remove(reading)
                    reading.close()
            for entry in group_forward(lines, reading.last):
                reading.last = entry
                yield entry

    def close(self) -> None:
        """Nothing is read any more."""
        for reading in self._readings:
            reading.close()
        self._readings.clear()

    def _find_new_files(self) -> None:
        newest = self._readings[-1] if self._readings else None
        if newest is not None and newest.is_at(self._path):
            return
        if (fd := _open(self._path)) is None:
            return  # between two names, or nobody has made it yet
        between: list[Reading] = []
        for name in rotation.list_rotated(self._path) if newest is not None else ():
            if newest is not None and newest.is_at(name):
                break
            if (passed := _open(name)) is not None:
                between.append(Reading(passed, 0))
        else:  # ours is not among them: it was removed, and what there is was told or is not ours to tell
            for reading in between:
                reading.close()
            between = []
        self._readings += [*between[::-1], Reading(fd, 0)]


def _open(path: str) -> int | None:
    with suppress(OSError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return None
