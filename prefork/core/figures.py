"""What the workers have done and how long it took: one worker's record, the sum of those that are gone, a summary.

Pure: the numbers come in, no clock and no memory is read. Whoever keeps the sum folds the record of every worker that
ends into it, so that a counter of the service never goes back, whichever workers it lives through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

CLASSES = 5
"""Of status codes: 1xx to 5xx."""
BUCKETS = 32
"""Of the latency histogram. The first counts what took less than 2^10 ns (1.024 µs), each next one what took less than
twice as long as the one before, the last one everything else: more than 2^40 ns (18 minutes)."""
SHORTEST_BITS = 10


class Record(NamedTuple):
    """One worker's row of the scoreboard. Nanoseconds are monotonic time."""

    tick_ns: int = 0
    connections: int = 0
    in_flight: int = 0
    requests: int = 0
    opening: int = 0
    accepted: int = 0
    in_rotation: bool = False
    statuses: tuple[int, ...] = (0,) * CLASSES
    bytes_in: int = 0
    bytes_out: int = 0
    busy_ns: int = 0
    lag_ns: int = 0
    shed: int = 0
    latency: tuple[int, ...] = (0,) * BUCKETS


class Totals(NamedTuple):
    """Whatever only grows."""

    accepted: int = 0
    requests: int = 0
    statuses: tuple[int, ...] = (0,) * CLASSES
    bytes_in: int = 0
    bytes_out: int = 0
    busy_ns: int = 0
    shed: int = 0
    latency: tuple[int, ...] = (0,) * BUCKETS


class Summary(NamedTuple):
    """The service as a whole, or one worker."""

    totals: Totals
    connections: int
    in_flight: int
    lag_s: float
    """The worst of the living."""
    p50_s: float
    p90_s: float
    p99_s: float


def fold(totals: Totals, record: Record) -> Totals:
    """The sum with what this worker has done in it."""
    return Totals(
        accepted=totals.accepted + record.accepted,
        requests=totals.requests + record.requests,
        statuses=_add(totals.statuses, record.statuses),
        bytes_in=totals.bytes_in + record.bytes_in,
        bytes_out=totals.bytes_out + record.bytes_out,
        busy_ns=totals.busy_ns + record.busy_ns,
        shed=totals.shed + record.shed,
        latency=_add(totals.latency, record.latency),
    )


def summarise(records: Iterable[Record], gone: Totals | None = None) -> Summary:
    """Of the living, and of those whose records were folded into `gone`."""
    totals, connections, in_flight, lag_ns = gone or Totals(), 0, 0, 0
    for record in records:
        totals = fold(totals, record)
        connections += record.connections + record.opening
        in_flight += record.in_flight
        lag_ns = max(lag_ns, record.lag_ns)
    latency = totals.latency
    return Summary(
        totals,
        connections,
        in_flight,
        lag_ns / 1e9,
        p50_s=find_percentile(latency, 0.5),
        p90_s=find_percentile(latency, 0.9),
        p99_s=find_percentile(latency, 0.99),
    )


def find_percentile(latency: tuple[int, ...], share: float) -> float:
    """How long so large a share of the requests took at most, in seconds; 0.0 if there were none.

    Within a bucket the requests are taken to be spread evenly: the true value is in the same bucket, which is to say
    that this one is at most twice or half of it.
    """
    rank = share * sum(latency)
    if rank <= 0:
        return 0.0
    for bucket, count in enumerate(latency):
        if count and rank <= count:
            low = bucket_start_ns(bucket)
            return (low + (bucket_start_ns(bucket + 1) - low) * rank / count) / 1e9
        rank -= count
    return bucket_start_ns(BUCKETS) / 1e9  # what rounding left over


def bucket_start_ns(bucket: int) -> int:
    """The least that a bucket counts, which is the first that the one before does not."""
    return 0 if bucket == 0 else 1 << (SHORTEST_BITS + bucket - 1)


def _add(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
