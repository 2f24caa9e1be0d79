"""What an HTTP service counts of each request, in plain numbers of its own: who wants to see them reads them now and
then. A shared cell would cost more than all of them, and a request must not pay for being counted.

Two readings of the clock would be most of the cost, so only some connections are timed: the first few, so that a quiet
service misses nothing, and one in eight of the others. Percentiles are as true as those of all, and cost an eighth.
"""

from __future__ import annotations

ALWAYS_TIMED = 4
"""While fewer connections than this are timed, the next one is."""
TIMED_EACH = 8
"""Of the others, one in so many."""
_CLASSES = b"12345"
_LONGEST_BITS = 64


class Tally:
    """One service's. Only the loop's thread touches it."""

    __slots__ = ("_opened", "_timed", "bytes_in", "bytes_out", "latency", "refused", "statuses")

    def __init__(self) -> None:
        self.statuses = [0] * 256
        """First digit of the status, as a byte -> responses."""
        self.refused = [0] * 256
        """The same for what was answered without being a request."""
        self.latency = [0] * (_LONGEST_BITS + 1)
        """How many bits the nanoseconds of a response have -> responses on connections that are timed."""
        self.bytes_in = 0
        self.bytes_out = 0
        self._opened = 0
        self._timed = 0

    def open(self) -> bool:
        """A connection is open: whether it is timed."""
        self._opened += 1
        is_timed = self._timed < ALWAYS_TIMED or self._opened % TIMED_EACH == 0
        self._timed += is_timed
        return is_timed

    def close(self, *, was_timed: bool) -> None:
        """It is gone."""
        self._timed -= was_timed

    def count_switch(self, *, was_timed: bool) -> None:
        """A connection was handed over to another protocol, by a 101 that answered its last request."""
        self.statuses[_CLASSES[0]] += 1
        self.close(was_timed=was_timed)

    def count_refusal(self, answer: bytes) -> None:
        """Count a response to something that was not taken for a request."""
        self.refused[answer[9]] += 1
        self.bytes_out += len(answer)

    def requests(self) -> int:
        """Answered so far."""
        return sum(self.statuses)

    def classes(self) -> list[int]:
        """Responses of each class, 1xx first; nobody knows what 6xx to 9xx mean, and they are none of these."""
        return [self.statuses[digit] + self.refused[digit] for digit in _CLASSES]
