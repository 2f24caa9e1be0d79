"""The id of a request: the client's own if it sent a valid one, else 128 random bits.

Pure but for randomness. A valid id is 1 to 128 characters of visible ASCII: it goes into logs, and back to the client.
"""

from __future__ import annotations

import os
import re

FIELD = b"x-request-id"
_VALID = re.compile(rb"[!-~]{1,128}")
_POOL_IDS = 64
_ID_BYTES = 16


class IdMaker:
    """Makes ids. Random bytes are fetched for many at once: a system call for each would cost as much as all the rest.

    Never made before a fork: two workers would give the same ids.
    """

    __slots__ = ("_pool",)

    def __init__(self) -> None:
        self._pool: list[str] = []

    def make(self) -> bytes:
        """32 hexadecimal digits."""
        if not self._pool:
            digits = os.urandom(_ID_BYTES * _POOL_IDS).hex()
            size = 2 * _ID_BYTES
            self._pool = [digits[at : at + size] for at in range(0, len(digits), size)]
        return self._pool.pop().encode("ascii")


def settle_id(headers: list[tuple[bytes, bytes]], maker: IdMaker) -> bytes:
    """The id of the request with these fields, which then say it once. One that is given twice is not valid."""
    given = [value for name, value in headers if name == FIELD]
    if len(given) == 1 and _VALID.fullmatch(given[0]):
        return given[0]
    if given:
        headers[:] = [field for field in headers if field[0] != FIELD]
    made = maker.make()
    headers.append((FIELD, made))
    return made
