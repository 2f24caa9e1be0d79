"""The strategies: who is chosen, of candidates that are lists of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.balance import STRATEGIES
from prefork.core.balance import (
    Candidate,
    Strategy,
    find_strategy,
    ip_hash,
    least_connections,
    name_network,
    round_robin,
)

ADDRESSES = [str(IPv4Address(0x0A000000 + number * 7919)) for number in range(4000)]


def make_fleet(*connections: int) -> list[Candidate]:
    """Slots 0, 1 … with so many open connections."""
    return [Candidate(slot, 10 + slot, open_now) for slot, open_now in enumerate(connections)]


def choose(strategy: Strategy, fleet: Sequence[Candidate], times: int, address: str = "") -> list[int]:
    """The slots chosen, one after the other; each has one connection more from then on."""
    slots = []
    for turn in range(times):
        chosen = strategy(fleet, address)
        chosen.connections += 1
        chosen.turn = max(each.turn for each in fleet) + turn + 1
        slots.append(chosen.slot)
    return slots


def test_every_strategy_that_can_be_configured_is_there() -> None:
    assert [find_strategy(name) for name in STRATEGIES] == [round_robin, least_connections, ip_hash]


def test_round_robin_goes_through_the_slots_in_order() -> None:
    assert choose(round_robin, make_fleet(9, 0, 5), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_goes_on_with_whoever_has_missed_a_turn() -> None:
    fleet = make_fleet(0, 0, 0, 0)
    assert choose(round_robin, fleet, 2) == [0, 1]
    assert choose(round_robin, fleet[:2], 2) == [0, 1]
    assert choose(round_robin, fleet, 5) == [2, 3, 0, 1, 2]


def test_least_connections_fills_up_whoever_has_fewest() -> None:
    assert choose(least_connections, make_fleet(3, 0, 2), 7) == [1, 1, 2, 1, 0, 2, 1]


def test_least_connections_uses_an_idle_fleet_evenly() -> None:
    fleet, slots = make_fleet(0, 0, 0, 0), []
    for _ in range(8):
        slots += choose(least_connections, fleet, 1)
        fleet[slots[-1]].connections = 0  # each is answered and closed before the next comes
    assert slots == [0, 1, 2, 3, 0, 1, 2, 3]


def test_ip_hash_sends_an_address_to_one_slot_whichever_process_serves_it() -> None:
    old = make_fleet(0, 0, 0, 0)
    new = [Candidate(candidate.slot, 90 + candidate.slot) for candidate in old]
    assert [ip_hash(old, each).slot for each in ADDRESSES] == [ip_hash(new, each).slot for each in ADDRESSES]


def test_ip_hash_prefers_the_younger_of_two_workers_of_a_slot() -> None:
    fleet = [Candidate(0, 1), Candidate(0, 7)]
    assert {ip_hash(fleet, each).serial for each in ADDRESSES[:50]} == {7}


@pytest.mark.parametrize("workers", [4, 16])
def test_ip_hash_spreads_addresses_that_look_alike(workers: int) -> None:
    found = Counter(ip_hash(make_fleet(*[0] * workers), each).slot for each in ADDRESSES)
    assert len(found) == workers
    assert max(found.values()) < 1.25 * len(ADDRESSES) / workers


def test_a_fifth_worker_takes_a_fifth_of_the_addresses_and_moves_no_other() -> None:
    before = [ip_hash(make_fleet(0, 0, 0, 0), each).slot for each in ADDRESSES]
    after = [ip_hash(make_fleet(0, 0, 0, 0, 0), each).slot for each in ADDRESSES]
    moved = [slot for old, slot in zip(before, after, strict=True) if slot != old]
    assert set(moved) == {4}
    assert 0.17 < len(moved) / len(ADDRESSES) < 0.23


def test_when_a_worker_is_away_only_its_addresses_move() -> None:
    fleet = make_fleet(0, 0, 0, 0)
    before = [ip_hash(fleet, each).slot for each in ADDRESSES]
    after = [ip_hash(fleet[:2] + fleet[3:], each).slot for each in ADDRESSES]
    assert all(new == old for old, new in zip(before, after, strict=True) if old != 2)
    assert {new for old, new in zip(before, after, strict=True) if old == 2} == {0, 1, 3}


def test_a_hash_is_the_same_for_ever() -> None:
    """A restart, an upgrade, another machine: who was sent to slot 2 yesterday is sent there today."""
    fleet = make_fleet(0, 0, 0, 0, 0, 0, 0, 0)
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8:0:1::1", "127.0.0.1"]
    assert [ip_hash(fleet, each).slot for each in addresses] == [7, 6, 3, 3, 0, 5]


def test_clients_without_an_address_are_served_in_turn() -> None:
    assert choose(ip_hash, make_fleet(0, 0, 0), 6) == [0, 1, 2, 0, 1, 2]


@given(st.integers(0, 2**128 - 1), st.booleans())
def test_of_an_ipv6_address_its_network_counts(number: int, is_long: bool) -> None:
    address = IPv6Address(number)
    text = address.exploded if is_long else address.compressed
    network = IPv6Network((number, 64), strict=False).network_address
    if "." not in text:
        assert name_network(text) == ":".join(
            f"{int(each, 16):x}" for each in network.exploded.split(":")[:4]
        )
        assert name_network(f"{text}%eth0") == name_network(text)


def test_ipv4_in_ipv6_clothes_is_ipv4() -> None:
    assert name_network("::ffff:192.0.2.7") == name_network("192.0.2.7") == "192.0.2.7"


@given(
    st.sampled_from(STRATEGIES),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), min_size=1, max_size=9),
    st.lists(st.one_of(st.just(""), st.ip_addresses().map(str), st.text(max_size=40)), max_size=5),
)
def test_whoever_is_chosen_was_a_candidate(
    name: str, fleet: list[tuple[int, int]], clients: list[str]
) -> None:
    candidates = [Candidate(slot, serial, open_now) for serial, (slot, open_now) in enumerate(sorted(fleet))]
    strategy = find_strategy(name)
    for address in clients:
        assert strategy(candidates, address) in candidates
