"""Shedding: a crowded worker lets some go, an even fleet none, and it comes to an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefork.core.gate import STALE_NS, Herd
from prefork.core.shedding import BEGIN_MORE, RATE_SHARE, Shedding

NOW = 10**15


def make_herd(*loads: int, running: tuple[int, ...] = ()) -> Herd:
    places = range(len(loads))
    present = [not running or place in running for place in places]
    return Herd(
        list(loads), [NOW if here else NOW - STALE_NS for here in present], [1] * len(loads), [0] * len(loads)
    )


@given(st.integers(0, 2000), st.lists(st.integers(0, 1), min_size=2, max_size=16))
def test_a_fleet_as_even_as_the_gate_makes_it_never_sheds(level: int, more: list[int]) -> None:
    loads = [level + one * (1 + level // 16) for one in more]
    assert [Shedding().count(me, make_herd(*loads), NOW) for me in range(len(loads))] == [0] * len(loads)


def test_few_connections_are_nobodys_crowd() -> None:
    assert Shedding().count(0, make_herd(BEGIN_MORE, 0), NOW) == 0


def test_who_does_not_run_or_take_part_is_no_reason_to_shed() -> None:
    assert Shedding().count(0, make_herd(100, 0, 0, running=(0,)), NOW) == 0
    out_of_rotation = make_herd(100, 0, 0)._replace(in_rotation=[1, 0, 0])
    assert Shedding().count(0, out_of_rotation, NOW) == 0


def test_once_begun_it_goes_on_below_the_mark_where_it_began_and_then_ends_for_good() -> None:
    shedding, fresh = Shedding(), Shedding()
    assert shedding.count(0, make_herd(160, 40), NOW) > 0
    assert shedding.count(0, make_herd(120, 80), NOW) > 0
    assert fresh.count(0, make_herd(120, 80), NOW) == 0
    assert shedding.count(0, make_herd(110, 90), NOW) == 0
    assert shedding.count(0, make_herd(120, 80), NOW) == 0


@given(st.lists(st.integers(0, 500), min_size=2, max_size=8))
def test_it_is_bounded_and_ends_with_an_even_fleet(loads: list[int]) -> None:
    workers = [Shedding() for _ in loads]
    for _beat in range(200):
        herd = make_herd(*loads)
        counts = [worker.count(me, herd, NOW) for me, worker in enumerate(workers)]
        for me, count in enumerate(counts):
            assert 0 <= count <= max(1, loads[me] * RATE_SHARE)
            for _ in range(count):  # where the gate sends it
                loads[me] -= 1
                loads[loads.index(min(loads))] += 1
    mean = sum(loads) / len(loads)
    assert max(loads) <= max(mean * 1.5, mean + BEGIN_MORE)
    assert [worker.count(me, make_herd(*loads), NOW) for me, worker in enumerate(workers)] == [0] * len(loads)
