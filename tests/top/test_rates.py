"""Two looks → rates."""

from __future__ import annotations

import pytest

from prefork.control.status import ListenerStatus, SlotStatus, TotalsStatus
from prefork.system.usage import Reading
from prefork.top.history import History
from prefork.top.rates import compare
from tests.top.looks import MB, count_latency, make_look, make_status, make_worker


def test_a_first_look_has_gauges_and_no_rates() -> None:
    status = make_status(
        make_worker(0, requests=500, in_flight=2, connections=5),
        listeners=(ListenerStatus(address="a", backlog=3), ListenerStatus(address="b", backlog=None)),
    )

    rates = compare(None, make_look(10.0, status, {100: Reading(1.0, 18 * MB), 1000: Reading(2.0, 30 * MB)}))

    assert (rates.in_flight, rates.connections, rates.queue, rates.memory_bytes) == (2, 5, 3, 48 * MB)
    assert (rates.requests_per_s, rates.p99_s, rates.cpu_percent, rates.over_s) == (None, None, None, None)
    assert rates.workers[0].requests_per_s is None


def test_a_rate_is_about_the_time_between_beats_and_not_between_looks() -> None:
    # 100 requests a second; the second look came just behind a beat, the first just before one.
    before = make_look(10.0, make_status(make_worker(0, requests=1000, busy_s=1.0, tick_age_s=0.49)))
    after = make_look(11.0, make_status(make_worker(0, requests=1148, busy_s=1.74, tick_age_s=0.01)))

    rates = compare(before, after)

    assert rates.workers[0].requests_per_s == pytest.approx(100)
    assert rates.workers[0].busy_percent == pytest.approx(50)
    assert rates.requests_per_s == pytest.approx(100)


def test_the_total_is_the_sum_of_the_rows_and_of_those_that_are_gone() -> None:
    before = make_look(0.0, make_status(make_worker(0, requests=100), make_worker(1, requests=100)))
    living = make_worker(0, requests=150)
    newcomer = make_worker(1, serial=9, requests=20, age_s=0.5)
    # The one in slot 1 did 30 more before it ended.
    totals = TotalsStatus(requests=150 + 20 + 130)

    rates = compare(before, make_look(1.0, make_status(living, newcomer, totals=totals)))

    assert [worker.requests_per_s for worker in rates.workers] == [50, 40]
    assert rates.requests_per_s == pytest.approx(50 + 40 + 30)


def test_percentiles_are_those_of_the_interval() -> None:
    slow_past = count_latency(b25=1000)
    before = make_look(0.0, make_status(make_worker(0, latency=slow_past), make_worker(1)))
    now_fast = count_latency(b25=1000, b10=100)

    rates = compare(before, make_look(1.0, make_status(make_worker(0, latency=now_fast), make_worker(1))))

    assert rates.p99_s is not None
    assert rates.p99_s < 0.002
    assert rates.workers[0].p50_s is not None
    assert rates.workers[1].p50_s is None  # nobody asked it anything


def test_errors_are_counted_for_ever_and_per_second() -> None:
    before = make_look(0.0, make_status(make_worker(0, statuses=(0, 9, 0, 0, 7))))
    after = make_look(2.0, make_status(make_worker(0, statuses=(0, 9, 0, 0, 11))))

    rates = compare(before, after)

    assert (rates.server_errors, rates.server_errors_per_s) == (11, 2)
    assert (rates.workers[0].server_errors, rates.workers[0].server_errors_per_s) == (11, 2)


def test_cpu_is_that_of_the_whole_family() -> None:
    before = make_look(0.0, make_status(make_worker(0)), {100: Reading(1.0, None), 1000: Reading(5.0, None)})
    after = make_look(
        2.0,
        make_status(make_worker(0)),
        {100: Reading(1.2, None), 1000: Reading(6.0, None), 7: Reading(0.2, None)},
    )

    rates = compare(before, after)

    assert rates.cpu_percent == pytest.approx(10 + 50 + 10)  # the third was forked in between
    assert rates.workers[0].cpu_percent == pytest.approx(50)
    assert rates.memory_bytes is None


def test_a_slot_without_a_worker_has_a_row_that_says_why() -> None:
    slots = (
        SlotStatus(index=0, state="filled", restarts=2, last_reason="max-requests 1000"),
        SlotStatus(index=1, state="backoff", restarts=5, last_reason="exit 1", retry_in_s=3.2),
    )

    first, second = compare(None, make_look(0.0, make_status(make_worker(0), slots=slots))).workers

    assert (first.restarts, first.why) == (2, "max-requests 1000")
    assert (second.pid, second.state, second.why, second.restarts) == (
        0,
        "backoff",
        "retry in 3 s, exit 1",
        5,
    )


def test_another_run_of_the_service_is_not_compared_with_the_last() -> None:
    before = make_look(0.0, make_status(make_worker(0, requests=5000)))
    after = make_look(1.0, make_status(make_worker(0, requests=5), pid=200))

    assert compare(before, after).requests_per_s is None


def test_who_looks_often_still_sees_rates_over_a_second() -> None:
    history = History()
    looks = [
        make_look(step / 4, make_status(make_worker(0, requests=step // 2 * 50, tick_age_s=step % 2 / 4)))
        for step in range(12)
    ]

    rates = [history.add(look) for look in looks]

    assert [rate.requests_per_s for rate in rates[4:]] == [pytest.approx(100)] * 8
    assert rates[-1].over_s == pytest.approx(1.0)


def test_curves_have_a_gap_where_the_service_was_gone() -> None:
    history = History()
    for at in (0.0, 1.0, 2.0):
        history.add(make_look(at, make_status(make_worker(0, requests=int(at) * 10))))
    history.note_absence()
    for at in (9.0, 10.0):
        history.add(make_look(at, make_status(make_worker(0, requests=int(at) * 10), pid=200)))

    assert list(history.requests_per_s) == [10, 10, None, 10]
