"""Has the app let go of what it was given? Asked of the interpreter's reference counts, because nobody else knows."""

from __future__ import annotations

from sys import getrefcount


class _Probe:
    __slots__ = ("_method",)

    def __init__(self) -> None:
        self._method = self.method

    def method(self) -> int:
        return getrefcount(self._method)


UNKEPT = _Probe().method()
"""What `getrefcount` says of a bound method that only its own slot holds, on this interpreter."""
