"""What an HTTP service counts of each request, in plain numbers of its own: who wants to see them reads them now and
then. A shared cell would cost more than all of them, and a request must not pay for being counted.
"""

from __future__ import annotations

from collections.abc import Iterator

_CLASSES = b"12345"
_LONGEST_BITS = 64


class Tally:
    """One service's. Only the loop's thread touches it."""

    __slots__ = ("by_class", "bytes_in", "bytes_out", "refused")

    def __init__(self) -> None:
        histograms = [[0] * (_LONGEST_BITS + 1) for _ in _CLASSES]
        # An index for each byte that the first digit of a status can be; nobody knows what 6xx to 9xx mean.
        self.by_class = [histograms[max(0, min(digit - _CLASSES[0], 4))] for digit in range(256)]
        """First digit of the status, as a byte -> how many bits the nanoseconds of a response have -> responses."""
        self.refused = [0] * 256
        """The same for what was answered without being a request."""
        self.bytes_in = 0
        self.bytes_out = 0

    def count_refusal(self, answer: bytes) -> None:
        """Count a response to something that was not taken for a request."""
        self.refused[answer[9]] += 1
        self.bytes_out += len(answer)

    def requests(self) -> int:
        """Answered so far."""
        return sum(map(sum, self._histograms()))

    def statuses(self) -> list[int]:
        """Responses of each class, 1xx first."""
        return [
            sum(histogram) + self.refused[digit]
            for digit, histogram in zip(_CLASSES, self._histograms(), strict=True)
        ]

    def latency(self) -> list[int]:
        """Requests by how many bits their nanoseconds have."""
        return [sum(counts) for counts in zip(*self._histograms(), strict=True)]

    def _histograms(self) -> Iterator[list[int]]:
        return (self.by_class[digit] for digit in _CLASSES)
