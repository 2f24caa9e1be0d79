"""A part of a regular file on its way to a client, without a copy through Python where the kernel can do it.

sendfile(2) gives the socket what it takes, in bounded slices, so that a long file holds nobody else up. When the
socket is full, the transport gets one block: then its own flow control tells when there is room again, and the
deadlines see a slow client as they see any other. The transport must hold nothing else of the response's meanwhile.

Why not `loop.sendfile`: uvloop has none, and asyncio's stops reading, so that a client that leaves goes unnoticed.
Over TLS, and where the kernel declines, blocks are read and written instead.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

TURN_BYTES = 1 << 20
"""How much of a file is handed over in one turn of the loop."""
SLICE_BYTES = 262144
"""How much of it one call may have to read from the disk while everybody waits."""
STOPGAP_BYTES = 32768
"""The block that waits in the transport until the socket has room."""

_NONE, _NOT_LOOKED = -1, -2

_PLAIN_FILES = (io.BufferedReader, io.BufferedRandom, io.FileIO)
"""Files whose bytes are those of their descriptor. Who changes them has a descriptor too (`gzip.GzipFile`)."""
_DECLINED = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EOVERFLOW))


class FilePart(NamedTuple):
    """From where in an open regular file, and how much there is."""

    fd: int
    offset: int
    size_bytes: int


class FileBody:
    """`left_bytes` of a file for one transport; the caller keeps the descriptor open.

    From the beginning to the end of it the transport counts any unsent byte as too many, afterwards `high_bytes`.
    """

    __slots__ = ("_at", "_fd", "_high_bytes", "_socket_fd", "_transport", "left_bytes", "size_bytes")

    def __init__(
        self, transport: asyncio.Transport, part: FilePart, size_bytes: int, high_bytes: int
    ) -> None:
        self._transport = transport
        self._high_bytes = high_bytes
        self._fd = part.fd
        self._at = part.offset
        self.size_bytes = self.left_bytes = size_bytes
        self._socket_fd = _NOT_LOOKED

    def send_some(self) -> bool:
        """Hand over what the socket takes, at most `TURN_BYTES`; return whether that was all.

        While it was not: come again when the transport has no more unsent, or in the next turn if it has none now.
        Raises OSError when the file cannot be read, or ends too soon.
        """
        transport = self._transport
        if self._socket_fd == _NOT_LOOKED:
            self._begin()
        turn_ends = self.left_bytes - TURN_BYTES
        while self.left_bytes > 0:
            if self.left_bytes <= turn_ends or transport.get_write_buffer_size() or transport.is_closing():
                return False
            if self._socket_fd == _NONE:
                self._give_block(SLICE_BYTES)
                continue
            try:
                self._advance(
                    os.sendfile(self._socket_fd, self._fd, self._at, min(self.left_bytes, SLICE_BYTES))
                )
            except BlockingIOError:
                self._give_block(STOPGAP_BYTES)
            except ConnectionError:
                transport.abort()
            except OSError as declined:
                if declined.errno not in _DECLINED:
                    raise
                self._socket_fd = _NONE
        if self.size_bytes and not transport.is_closing():
            transport.set_write_buffer_limits(high=self._high_bytes)
        return True

    def _begin(self) -> None:
        transport = self._transport
        self._socket_fd = _find_plain_socket(transport)
        if self.left_bytes and not transport.is_closing():
            # Plain transports pause above their mark, those of TLS at it: at 0 these would never go on.
            is_tls = transport.get_extra_info("sslcontext") is not None
            transport.set_write_buffer_limits(high=1 if is_tls else 0)

    def _give_block(self, size: int) -> None:
        block = os.pread(self._fd, min(self.left_bytes, size), self._at)
        self._advance(len(block))
        self._transport.write(block)

    def _advance(self, size: int) -> None:
        if not size:
            raise OSError(f"the file ended {self.left_bytes} bytes too soon: was it cut short meanwhile?")
        self._at += size
        self.left_bytes -= size


def _find_plain_socket(transport: asyncio.Transport) -> int:
    """The socket's descriptor, or none where bytes have to go through the transport."""
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None or not hasattr(os, "sendfile"):
        return _NONE
    fd: int = sock.fileno()
    return fd


def open_part(path: str) -> FilePart:
    """Open a regular file, all of it; the caller closes `fd`. Raises OSError, also for what is not a regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block us
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return FilePart(fd, 0, status.st_size)


def find_part(filelike: Any) -> FilePart | None:
    """What a file object still has to give, if that can be read past it: from its position to the end."""
    if type(filelike) not in _PLAIN_FILES:
        return None
    try:
        filelike.flush()
        fd, at = filelike.fileno(), filelike.tell()
        status = os.fstat(fd)
    except (OSError, ValueError):  # closed, or without a position
        return None
    return FilePart(fd, at, max(0, status.st_size - at)) if stat.S_ISREG(status.st_mode) else None


def read_part(part: FilePart, size: int) -> bytes:
    """The first `size` bytes of it, or fewer if the file has become shorter."""
    return os.pread(part.fd, size, part.offset)


def clip_blocks(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The first `size` bytes of some blocks; nothing is asked for past them."""
    left = size
    source = iter(blocks)
    while left > 0 and (block := next(source, b"")):
        yield block[:left]
        left -= len(block)
