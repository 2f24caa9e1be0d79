"""The gate: even where that costs nobody a wait, and never in anybody's way."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from prefork.core.gate import (
    DISTRUST_S,
    LEASE_S,
    PATIENCE_COMING_S,
    PATIENCE_MOST_S,
    PATIENCE_S,
    SLACK_SHARE,
    STALE_NS,
    STRIKES_MOST,
    Gate,
    Herd,
    find_lighter,
)

NOW = 10**15
LEASE_NS = int(LEASE_S * 1e9)


def make_herd(
    *loads: int, stale: tuple[int, ...] = (), left: tuple[int, ...] = (), accepted: tuple[int, ...] = ()
) -> Herd:
    places = range(len(loads))
    return Herd(
        loads=list(loads),
        ticks_ns=[NOW - STALE_NS if place in stale else NOW - 1 for place in places],
        in_rotation=[int(place not in left) for place in places],
        accepted=list(accepted or [0] * len(loads)),
    )


@st.composite
def herds(draw: st.DrawFn) -> Herd:
    size = draw(st.integers(1, 16))
    numbers = st.lists(st.integers(0, 300), min_size=size, max_size=size)
    flags = st.lists(st.integers(0, 1), min_size=size, max_size=size)
    return Herd(
        loads=draw(numbers),
        ticks_ns=[NOW - is_stale * 2 * STALE_NS for is_stale in draw(flags)],
        in_rotation=draw(flags),
        accepted=draw(numbers),
    )


@given(st.lists(herds(), min_size=1, max_size=8))
def test_the_least_loaded_never_stops_whatever_was_before(history: list[Herd]) -> None:
    gates = [Gate() for _ in range(16)]
    for step, herd in enumerate(history):
        least = min(herd.loads)
        for me, load in enumerate(herd.loads):
            takes = gates[me].may_take(me, herd, NOW + step * LEASE_NS)
            assert takes or load > least


@given(herds())
def test_who_is_alone_never_stops(herd: Herd) -> None:
    for me in range(len(herd.loads)):
        nobody_else = herd._replace(in_rotation=[int(place == me) for place in range(len(herd.loads))])
        assert Gate().may_take(me, nobody_else, NOW)
        nobody_runs = herd._replace(ticks_ns=[0] * len(herd.loads))
        assert Gate().may_take(me, nobody_runs, NOW)


@given(herds())
def test_somebody_who_runs_takes_every_connection_at_once(herd: Herd) -> None:
    running = [
        place
        for place in range(len(herd.loads))
        if herd.in_rotation[place] and NOW - herd.ticks_ns[place] < STALE_NS
    ]
    if running:
        assert any(Gate().may_take(me, herd, NOW) for me in running)


def test_the_heavier_steps_aside_for_whoever_takes_connections_only() -> None:
    assert not Gate().may_take(0, make_herd(5, 4), NOW)
    assert Gate().may_take(0, make_herd(5, 4, stale=(1,)), NOW)
    assert Gate().may_take(0, make_herd(5, 4, left=(1,)), NOW)
    assert Gate().may_take(0, make_herd(5, 5), NOW)


def test_a_sixteenth_more_is_even() -> None:
    assert find_lighter(0, make_herd(17, 16), NOW) == []
    assert find_lighter(0, make_herd(18, 16), NOW) == [1]
    assert find_lighter(0, make_herd(106, 100), NOW) == []
    assert find_lighter(0, make_herd(107, 100), NOW) == [1]


def wait_at(gate: Gate, herds_seen: list[Herd], begin_ns: int = NOW, waiting: int = 1) -> int | None:
    """At which look, a lease apart, the first connection is taken."""
    for look, herd in enumerate(herds_seen):
        if gate.may_take(0, herd, begin_ns + look * LEASE_NS, waiting):
            return look
    return None


def test_a_connection_that_nobody_lighter_takes_is_taken_within_a_few_milliseconds() -> None:
    look = wait_at(Gate(), [make_herd(9, 1)] * 50)
    assert look is not None
    assert PATIENCE_S <= look * LEASE_S <= PATIENCE_S + 2 * LEASE_S


def test_a_kernel_that_says_that_nobody_waits_keeps_nobody_waiting() -> None:
    look = wait_at(Gate(), [make_herd(9, 1)] * 50, waiting=0)
    assert look is not None
    assert look * LEASE_S <= PATIENCE_S + 2 * LEASE_S


def test_who_did_not_come_is_not_waited_for_again_until_it_takes_a_connection() -> None:
    gate = Gate()
    look = wait_at(gate, [make_herd(9, 1)] * 50)
    assert look is not None
    at = NOW + look * LEASE_NS
    for _ in range(STRIKES_MOST - 1):  # a head start of one lease
        at += LEASE_NS
        assert wait_at(gate, [make_herd(9, 1)] * 9, at) == 1
        at += LEASE_NS
    assert all(gate.may_take(0, make_herd(9, 1), at + n * LEASE_NS) for n in range(1, 20))
    assert not gate.may_take(0, make_herd(9, 2, accepted=(0, 1)), at + 21 * LEASE_NS), "it is back"


def test_nobody_is_left_out_of_account_for_ever() -> None:
    gate, at = Gate(), NOW
    for _ in range(STRIKES_MOST):
        wait_at(gate, [make_herd(9, 1)] * 50, at)
        at += 10 * LEASE_NS
    assert gate.may_take(0, make_herd(9, 1), at)
    assert wait_at(gate, [make_herd(9, 1)] * 50, at + int(DISTRUST_S * 1e9)) not in (None, 0, 1)


def test_a_machine_that_stood_still_costs_the_others_one_connection_and_not_their_turn() -> None:
    gate = Gate()
    assert not gate.may_take(0, make_herd(5, 4, 4, 4), NOW)
    assert gate.may_take(0, make_herd(5, 4, 4, 4), NOW + int(PATIENCE_S * 1.5e9)), "nobody else ran"
    assert not gate.may_take(0, make_herd(6, 4, 4, 4), NOW + int(PATIENCE_S * 1.6e9))


def test_one_that_lacks_a_processor_is_waited_for_longer_once() -> None:
    gate, herd = Gate(), make_herd(9, 1)
    waits_ns = (look * LEASE_NS for look in itertools.count())
    took_ns = next(ns for ns in waits_ns if gate.may_take(0, herd, NOW + ns, 1, lambda place: place == 1))
    assert PATIENCE_COMING_S <= took_ns / 1e9 <= PATIENCE_COMING_S + 2 * LEASE_S
    again = [gate.may_take(0, herd, NOW + took_ns + n * LEASE_NS, 1, lambda _: True) for n in range(1, 3)]
    assert again == [False, True]


def test_whether_somebody_lacks_a_processor_is_asked_only_before_it_is_given_up() -> None:
    gate, asked = Gate(), list[int]()

    def is_coming(place: int) -> bool:
        asked.append(place)
        return True

    herd = make_herd(9, 1, 9)
    for look in range(int(PATIENCE_S / LEASE_S)):
        assert not gate.may_take(0, herd, NOW + look * LEASE_NS, 1, is_coming)
    assert not asked
    assert not gate.may_take(0, herd, NOW + int(PATIENCE_S * 1e9), 1, is_coming)
    assert asked == [1]


def test_while_the_lighter_ones_take_them_the_heavier_waits_longer_but_not_for_ever() -> None:
    taking = [make_herd(99, 1, accepted=(0, number)) for number in range(100)]
    look = wait_at(Gate(), taking, waiting=90)
    assert look is not None
    assert PATIENCE_MOST_S <= look * LEASE_S <= PATIENCE_MOST_S + 2 * LEASE_S


def test_connections_that_the_lighter_take_one_by_one_are_not_one_that_waits_long() -> None:
    gate = Gate()
    taking = [make_herd(99, 1, accepted=(0, number)) for number in range(100)]
    assert wait_at(gate, taking) is None
    assert not gate.may_take(0, taking[-1], NOW + 101 * LEASE_NS), "nobody is left out of account"


def test_a_later_connection_is_waited_for_anew() -> None:
    gate, second_ns = Gate(), 10**9
    assert not gate.may_take(0, make_herd(9, 1), NOW)
    herd = make_herd(9, 1)._replace(ticks_ns=[NOW + second_ns] * 2)
    look = wait_at(gate, [herd] * 50, NOW + second_ns)
    assert look is not None
    assert look * LEASE_S >= PATIENCE_S


def test_a_wait_ends_with_a_connection_that_was_taken_without_asking() -> None:
    gate = Gate()
    assert not gate.may_take(0, make_herd(9, 1), NOW)
    gate.pass_by()
    look = wait_at(gate, [make_herd(9, 1)] * 50, NOW + LEASE_NS)
    assert look is not None
    assert look * LEASE_S >= PATIENCE_S


def test_a_queue_that_fills_everybody_up_is_taken_by_whoever_runs_and_comes_out_even() -> None:
    loads, waiting = [0] * 16, 64
    for me in range(16):  # one after the other, as on a single core
        while waiting and Gate().may_take(me, make_herd(*loads), NOW, waiting):
            loads[me] += 1
            waiting -= 1
    assert loads == [4] * 16


@given(st.lists(st.integers(0, 40), min_size=2, max_size=8), st.integers(1, 100), st.data())
def test_whoever_runs_first_a_queue_makes_nobody_heavier_than_the_even_share(
    loads: list[int], waiting: int, data: st.DataObject
) -> None:
    before = max(loads)
    turns = itertools.cycle(data.draw(st.permutations(range(len(loads)))))
    while waiting:
        me = next(turns)
        while waiting and Gate().may_take(me, make_herd(*loads), NOW, waiting):
            loads[me] += 1
            waiting -= 1
    lightest = min(loads)
    assert max(loads) <= max(before, lightest + lightest // SLACK_SHARE + 1)


def test_where_nobody_knows_how_many_wait_a_few_more_are_even() -> None:
    assert Gate().may_take(0, make_herd(4, 0), NOW, None)
    assert not Gate().may_take(0, make_herd(5, 0), NOW, None)
