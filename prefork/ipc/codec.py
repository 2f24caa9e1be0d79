"""Messages ⇄ bytes: one JSON line each, capped in length, checked against its type on the way in.

Never pickle: the peer may be running somebody else's code.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from prefork.errors import ProtocolError
from prefork.ipc.messages import (
    AdminToMaster,
    ChooserToMaster,
    MasterToAdmin,
    MasterToChooser,
    MasterToWatcher,
    MasterToWorker,
    MasterToZygote,
    Message,
    Resume,
    WatcherToMaster,
    WorkerToMaster,
    ZygoteToMaster,
)

LIMIT_BYTES = 256 * 1024
"""Longest line. The longest honest one is a `Boot` with a large environment."""

STANDING_LIMIT_BYTES = 4 * 1024 * 1024
"""To the admin process: a status has a line's worth of each worker."""

M = TypeVar("M")

_encode = msgspec.json.Encoder().encode


def encode(message: Message) -> bytes:
    """One line, newline included (JSON escapes any newline inside)."""
    return _encode(message) + b"\n"


class Reader(Generic[M]):
    """Cuts a byte stream into messages of one dialogue. Raises `ProtocolError` on anything else; then it is spent."""

    __slots__ = ("_buffer", "_decoder", "_limit_bytes")

    def __init__(self, decoder: msgspec.json.Decoder[M], limit_bytes: int = LIMIT_BYTES) -> None:
        self._decoder = decoder
        self._limit_bytes = limit_bytes
        self._buffer = b""

    def feed(self, data: bytes) -> list[M]:
        """The messages that `data` completes, in order."""
        *lines, rest = (self._buffer + data).split(b"\n")
        limit_bytes = self._limit_bytes
        if len(rest) > limit_bytes or any(len(line) > limit_bytes for line in lines):
            raise ProtocolError(f"message longer than {limit_bytes} bytes")
        self._buffer = rest
        try:
            return [self._decoder.decode(line) for line in lines]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a message: {error}") from error


# Made once each: building a decoder for a union compiles its whole type tree.
_TO_ZYGOTE: msgspec.json.Decoder[MasterToZygote] = msgspec.json.Decoder(MasterToZygote)
_TO_WORKER: msgspec.json.Decoder[MasterToWorker] = msgspec.json.Decoder(MasterToWorker)
_FROM_ZYGOTE: msgspec.json.Decoder[ZygoteToMaster] = msgspec.json.Decoder(ZygoteToMaster)
_FROM_WORKER: msgspec.json.Decoder[WorkerToMaster] = msgspec.json.Decoder(WorkerToMaster)
_TO_WATCHER: msgspec.json.Decoder[MasterToWatcher] = msgspec.json.Decoder(MasterToWatcher)
_FROM_WATCHER: msgspec.json.Decoder[WatcherToMaster] = msgspec.json.Decoder(WatcherToMaster)
_TO_CHOOSER: msgspec.json.Decoder[MasterToChooser] = msgspec.json.Decoder(MasterToChooser)
_FROM_CHOOSER: msgspec.json.Decoder[ChooserToMaster] = msgspec.json.Decoder(ChooserToMaster)
_TO_ADMIN: msgspec.json.Decoder[MasterToAdmin] = msgspec.json.Decoder(MasterToAdmin)
_FROM_ADMIN: msgspec.json.Decoder[AdminToMaster] = msgspec.json.Decoder(AdminToMaster)


def decode_resume(data: bytes) -> Resume:
    """What a zygote wrote for itself before an exec."""
    return msgspec.json.decode(data, type=Resume)


def read_from_master_as_zygote() -> Reader[MasterToZygote]:
    """The zygote's ear."""
    return Reader(_TO_ZYGOTE)


def read_from_zygote() -> Reader[ZygoteToMaster]:
    """The master's ear for a zygote."""
    return Reader(_FROM_ZYGOTE)


def read_from_master_as_worker() -> Reader[MasterToWorker]:
    """The worker's ear."""
    return Reader(_TO_WORKER)


def read_from_worker() -> Reader[WorkerToMaster]:
    """The master's ear for a worker."""
    return Reader(_FROM_WORKER)


def read_from_master_as_watcher() -> Reader[MasterToWatcher]:
    """The watcher's ear."""
    return Reader(_TO_WATCHER)


def read_from_watcher() -> Reader[WatcherToMaster]:
    """The master's ear for the watcher."""
    return Reader(_FROM_WATCHER)


def read_from_master_as_chooser() -> Reader[MasterToChooser]:
    """The chooser's ear."""
    return Reader(_TO_CHOOSER)


def read_from_chooser() -> Reader[ChooserToMaster]:
    """The master's ear for the chooser."""
    return Reader(_FROM_CHOOSER)


def read_from_master_as_admin() -> Reader[MasterToAdmin]:
    """The admin process's ear."""
    return Reader(_TO_ADMIN, STANDING_LIMIT_BYTES)


def read_from_admin() -> Reader[AdminToMaster]:
    """The master's ear for the admin process."""
    return Reader(_FROM_ADMIN)
