"""Counters that never go back, and percentiles that are true to a factor of two."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from prefork.core.figures import (
    BUCKETS,
    CLASSES,
    SHORTEST_BITS,
    Record,
    Totals,
    bucket_start_ns,
    find_percentile,
    fold,
    summarise,
)

COUNTS = st.integers(0, 2**40)


@st.composite
def records(draw: st.DrawFn) -> Record:
    numbers = draw(st.lists(COUNTS, min_size=9, max_size=9))
    return Record(
        accepted=numbers[0],
        requests=numbers[1],
        connections=numbers[2],
        opening=numbers[3],
        in_flight=numbers[4],
        statuses=tuple(draw(st.lists(COUNTS, min_size=CLASSES, max_size=CLASSES))),
        bytes_in=numbers[5],
        bytes_out=numbers[6],
        busy_ns=numbers[7],
        shed=numbers[8],
        latency=tuple(draw(st.lists(COUNTS, min_size=BUCKETS, max_size=BUCKETS))),
    )


@given(st.lists(records(), max_size=4), st.integers(0, 4))
def test_the_totals_are_the_same_whoever_of_the_workers_is_gone(workers: list[Record], deaths: int) -> None:
    gone = Totals()
    for record in workers[:deaths]:
        gone = fold(gone, record)
    assert summarise(workers[deaths:], gone).totals == summarise(workers).totals


def test_what_is_open_is_the_sum_of_the_living_and_the_lag_is_the_worst() -> None:
    workers = [
        Record(connections=3, opening=1, in_flight=2, lag_ns=5_000_000),
        Record(connections=4, in_flight=1, lag_ns=80_000_000),
    ]
    summary = summarise(workers, Totals(requests=7))
    assert (summary.connections, summary.in_flight, summary.lag_s) == (8, 3, 0.08)
    assert summary.totals.requests == 7


@given(
    st.lists(st.integers(1, 2 ** (SHORTEST_BITS + BUCKETS - 1) - 1), min_size=1, max_size=60),
    st.integers(1, 100),
)
def test_a_percentile_is_in_the_bucket_of_the_true_one(taken_ns: list[int], percent: int) -> None:
    latency = [0] * BUCKETS
    for ns in taken_ns:
        latency[max(0, ns.bit_length() - SHORTEST_BITS)] += 1
    true_ns = sorted(taken_ns)[math.ceil(percent * len(taken_ns) / 100) - 1]  # the nearest rank
    bucket = max(0, true_ns.bit_length() - SHORTEST_BITS)
    found_ns = find_percentile(tuple(latency), percent / 100) * 1e9
    assert bucket_start_ns(bucket) * (1 - 1e-9) <= found_ns <= bucket_start_ns(bucket + 1) * (1 + 1e-9)


def test_nobody_asked_anything_and_the_percentiles_are_zero() -> None:
    summary = summarise([Record()])
    assert (summary.p50_s, summary.p90_s, summary.p99_s) == (0.0, 0.0, 0.0)
