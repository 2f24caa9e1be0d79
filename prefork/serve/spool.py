"""Bytes that have to wait: in memory while they are few, in a file without a name once they are many.

A request's body waits here until it is complete, what a WSGI app writes faster than its client reads waits until
there is room. The loop thread writes and reads; the file is on the machine's temporary directory.
"""

from __future__ import annotations

import io
import tempfile
from typing import IO

MEMORY_BYTES = 262144
"""Up to so much stays in memory."""


class Spool:
    """A first-in first-out of bytes; filled, then read once."""

    __slots__ = ("_file", "_parts", "size_bytes")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size_bytes = 0

    def append(self, data: bytes) -> None:
        """Take more. Raises OSError when the temporary directory is full."""
        self.size_bytes += len(data)
        if self._file is not None:
            self._file.write(data)
            return
        self._parts.append(data)
        if self.size_bytes > MEMORY_BYTES:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever opened the spool
            self._file.writelines(self._parts)
            self._parts = []

    def open(self) -> IO[bytes]:
        """All of it as a binary file at its beginning; the caller closes it."""
        if self._file is None:
            return io.BytesIO(b"".join(self._parts))
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Give the file back to the system."""
        if self._file is not None:
            self._file.close()
