"""Whose a connection is: a machine of workers that stop, die, go on and run out of descriptors at any moment.

The machine has the kernel's part: a message is received by the worker or taken back by the master, never both. Every
connection must be in one place, and no two workers may ever have it.
"""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefork.core.balance import round_robin
from prefork.core.handoff import (
    DEAF_S,
    PATIENCE_S,
    PAUSE_S,
    STALE_S,
    TOTAL_MAX,
    WAITING_MAX,
    Connection,
    Reading,
    Seat,
    Seating,
)


class Fleet:
    """Workers that live only here: a queue in the kernel, what each has received, what each has acknowledged."""

    def __init__(self, workers: int, limit: int = 0) -> None:
        self.now = 1000.0
        self.seating = Seating()
        self.queues: dict[int, deque[tuple[int, list[Connection]]]] = {}
        self.received: dict[int, deque[tuple[int, int]]] = {}
        """Received and not acknowledged: the message's number, and how many descriptors there was room for."""
        self.owned: dict[int, list[Connection]] = {}
        """What each worker may touch."""
        self.touchable: set[Connection] = set()
        """What any worker, alive or dead, has acknowledged: it may have read it."""
        self.rows: dict[int, Reading] = {}
        self.accepted = 0
        self.limit = limit
        for serial in range(workers):
            self.add(serial, serial)

    def add(self, serial: int, slot: int, *, gen: int = 1, newest: int = 1, sticky: bool = False) -> None:
        self.queues[serial] = deque()
        self.received[serial] = deque()
        self.owned[serial] = []
        self.rows[serial] = Reading(self.now, 0, 0, 0)
        self.seating.seat(Seat(serial, slot, gen, newest, round_robin, limit=self.limit, is_sticky=sticky))

    def look(self) -> None:
        self.seating.look(self.rows, self.now)

    def beat(self, *serials: int) -> None:
        for serial in serials:
            self.rows[serial] = self.rows[serial]._replace(tick_s=self.now)

    def accept(self, count: int, listener: int = 1) -> list[int]:
        """As the master does: accept while somebody can take, hand over in one message to each. The chosen ones."""
        self.look()
        chosen: dict[int, list[Connection]] = {}
        order = []
        for _ in range(count):
            if not self.seating.can_take(listener):
                break
            self.accepted += 1
            connection = Connection(self.accepted, listener, "")
            seat = self.seating.choose(connection)
            assert seat is not None
            chosen.setdefault(seat.serial, []).append(connection)
            order.append(seat.serial)
        self.send(chosen)
        return order

    def place(self) -> None:
        self.look()
        chosen: dict[int, list[Connection]] = {}
        while self.seating.pending and (seat := self.seating.choose(self.seating.pending[0])):
            chosen.setdefault(seat.serial, []).append(self.seating.pending.popleft())
        self.send(chosen)

    def send(self, chosen: dict[int, list[Connection]]) -> None:
        for serial, connections in chosen.items():
            seat = self.seating.seats[serial]
            self.seating.hand(seat, connections, self.now)
            self.queues[serial].append((seat.sequence, connections))

    def receive(self, serial: int, room: int = 64) -> None:
        sequence, connections = self.queues[serial].popleft()
        taken = connections[:room]
        self.received[serial].append((sequence, len(taken)))
        self.owned[serial] += taken

    def acknowledge(self, serial: int) -> None:
        sequence, count = self.received[serial].popleft()
        closed = self.seating.acknowledge(self.seating.seats[serial], sequence, count, self.now)
        assert not self.touchable & set(closed), "acknowledged twice"
        self.touchable |= set(closed)

    def take_back(self, serial: int) -> None:
        seat = self.seating.seats[serial]
        sequences = [sequence for sequence, _ in self.queues[serial]]
        self.queues[serial].clear()
        self.seating.take_back(seat, sequences, self.now)
        self.queues[serial].append((seat.sequence, []))

    def die(self, serial: int) -> None:
        # Descriptors that were received and not acknowledged die with it, untouched.
        del self.queues[serial], self.received[serial], self.rows[serial]
        self.owned.pop(serial)
        self.seating.unseat(serial)


def test_a_stopped_workers_connections_go_to_others_and_never_to_it() -> None:
    fleet = Fleet(2)
    assert fleet.accept(4) == [0, 1, 0, 1]
    fleet.receive(1)
    fleet.acknowledge(1)
    fleet.now += PATIENCE_S
    fleet.look()
    assert fleet.seating.find_late(fleet.now) == [fleet.seating.seats[0]]
    fleet.take_back(0)
    fleet.place()
    assert not fleet.seating.pending
    assert [len(connections) for _, connections in fleet.queues[1]] == [2]
    # It goes on: all it finds is the probe, and with its acknowledgement it is back.
    assert fleet.accept(1) == [1]
    fleet.receive(0)
    fleet.acknowledge(0)
    assert fleet.owned[0] == []
    assert fleet.accept(2) == [0, 1]


def test_what_a_worker_has_received_stays_its_own_until_it_has_ended() -> None:
    fleet = Fleet(2)
    fleet.accept(1)
    fleet.receive(0)  # and stops, before it can say so
    fleet.now += 60.0
    fleet.beat(1)
    fleet.take_back(0)
    assert not fleet.seating.pending
    fleet.die(0)
    assert [connection.fd for connection in fleet.seating.pending] == [1]


def test_a_worker_that_has_missed_its_beats_gets_none() -> None:
    fleet = Fleet(2)
    fleet.now += STALE_S + 0.01
    fleet.beat(1)
    assert fleet.accept(2) == [1, 1]
    fleet.beat(0)
    assert fleet.accept(1) == [0]


def test_nobody_gets_more_than_its_limit_and_the_rest_stays_in_the_backlog() -> None:
    fleet = Fleet(2, limit=3)
    fleet.rows[0] = Reading(fleet.now, connections=5, in_flight=2, taken=0)
    assert fleet.accept(10) == [0, 1, 1, 1]
    assert fleet.accept(10) == []
    for serial in (0, 1):
        fleet.receive(serial)
        fleet.acknowledge(serial)
    assert fleet.accept(10) == [], "acknowledged is not yet counted"
    fleet.rows[0] = Reading(fleet.now, connections=5, in_flight=1, taken=1)
    assert fleet.accept(10) == [0, 0]


def test_a_worker_without_descriptors_gives_back_what_it_has_no_room_for_and_rests() -> None:
    fleet = Fleet(2)
    assert fleet.accept(6) == [0, 1] * 3
    fleet.receive(0, room=1)
    fleet.acknowledge(0)
    assert [connection.fd for connection in fleet.seating.pending] == [3, 5]
    fleet.place()
    assert fleet.accept(1) == [1]
    fleet.now += PAUSE_S
    fleet.beat(0, 1)
    while fleet.queues[1]:
        fleet.receive(1)
        fleet.acknowledge(1)
    assert fleet.accept(1) == [0]


def test_what_is_on_its_way_is_bounded_for_one_and_for_all() -> None:
    assert Counter(Fleet(2).accept(1000)) == {0: WAITING_MAX, 1: WAITING_MAX}
    assert len(Fleet(16).accept(1000)) == TOTAL_MAX


def test_a_listener_that_a_reload_adds_is_for_the_new_generation() -> None:
    fleet = Fleet(2)
    assert fleet.accept(1, listener=2) == []
    fleet.add(7, 0, gen=2, newest=2)
    assert fleet.accept(2, listener=2) == [7, 7]
    assert sorted(fleet.accept(3)) == [0, 1, 7]


def test_connections_on_the_way_count_as_open() -> None:
    fleet = Fleet(2)
    fleet.rows[0] = Reading(fleet.now, connections=4, in_flight=0, taken=0)
    fleet.accept(3)
    fleet.look()
    assert [seat.candidate.connections for seat in fleet.seating.seats.values()] == [4 + 2, 1]
    fleet.rows[0] = Reading(fleet.now, connections=6, in_flight=0, taken=2)
    fleet.look()
    assert [seat.candidate.connections for seat in fleet.seating.seats.values()] == [6, 1]


def test_whoever_beats_and_acknowledges_nothing_is_deaf_and_whoever_is_stuck_is_not() -> None:
    fleet = Fleet(2)
    fleet.accept(2)
    fleet.now += DEAF_S
    fleet.beat(0)
    assert fleet.seating.find_deaf(fleet.rows, fleet.now) == [0]


@pytest.mark.parametrize(("sequence", "count"), [(2, 1), (0, 1), (1, 2)])
def test_a_lie_is_refused_and_changes_nothing(sequence: int, count: int) -> None:
    fleet = Fleet(1)
    fleet.accept(1)
    seat = fleet.seating.seats[0]
    with pytest.raises(ValueError, match="it acknowledges"):
        fleet.seating.acknowledge(seat, sequence, count, fleet.now)
    assert [len(batch.connections) for batch in seat.batches] == [1]


class AnyOrder(RuleBasedStateMachine):
    @initialize(workers=st.integers(1, 4), limit=st.sampled_from([0, 0, 2, 20]))
    def begin(self, workers: int, limit: int) -> None:
        self.fleet = Fleet(workers, limit)
        self.last = workers

    def pick(self, data: st.DataObject, of: list[int]) -> int:
        return data.draw(st.sampled_from(sorted(of)))

    @rule(count=st.integers(1, 80), listener=st.integers(1, 2))
    def clients_come(self, count: int, listener: int) -> None:
        self.fleet.accept(count, listener)

    @rule()
    def pending_ones_are_placed(self) -> None:
        self.fleet.place()

    @rule(seconds=st.sampled_from([0.01, PATIENCE_S, STALE_S, DEAF_S]))
    def time_passes(self, seconds: float) -> None:
        self.fleet.now += seconds

    @precondition(lambda self: self.fleet.rows)
    @rule(data=st.data(), connections=st.integers(0, 9), in_flight=st.integers(0, 3))
    def a_worker_beats(self, data: st.DataObject, connections: int, in_flight: int) -> None:
        serial = self.pick(data, list(self.fleet.rows))
        taken = data.draw(st.integers(0, 500))  # a claim
        self.fleet.rows[serial] = Reading(self.fleet.now, connections, in_flight, taken)

    @precondition(lambda self: any(self.fleet.queues.values()))
    @rule(data=st.data(), room=st.sampled_from([64, 64, 64, 0, 1]))
    def a_worker_receives(self, data: st.DataObject, room: int) -> None:
        self.fleet.receive(self.pick(data, [s for s, queue in self.fleet.queues.items() if queue]), room)

    @precondition(lambda self: any(self.fleet.received.values()))
    @rule(data=st.data())
    def a_worker_acknowledges(self, data: st.DataObject) -> None:
        self.fleet.acknowledge(self.pick(data, [s for s, words in self.fleet.received.items() if words]))

    @rule(is_running=st.booleans())
    def the_late_are_passed_over(self, *, is_running: bool) -> None:
        for seat in self.fleet.seating.find_late(self.fleet.now):
            if is_running:
                self.fleet.seating.bear_with(seat, self.fleet.now)
            if seat.is_late(self.fleet.now):
                self.fleet.take_back(seat.serial)

    @precondition(lambda self: self.fleet.rows)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        self.fleet.die(self.pick(data, list(self.fleet.rows)))

    @rule(slot=st.integers(0, 3), gen=st.integers(1, 3), sticky=st.booleans())
    def a_worker_is_forked(self, slot: int, gen: int, *, sticky: bool) -> None:
        self.last += 1
        self.fleet.add(self.last, slot, gen=gen, newest=min(gen, 2), sticky=sticky)

    @invariant()
    def every_connection_is_in_one_place(self) -> None:
        seating = self.fleet.seating
        under_way = [
            each for seat in seating.seats.values() for batch in seat.batches for each in batch.connections
        ]
        places = Counter([*seating.pending, *under_way, *self.fleet.touchable])
        assert len(places) == self.fleet.accepted
        assert not [each for each, count in places.items() if count > 1]

    @invariant()
    def no_two_workers_have_one(self) -> None:
        owners = Counter(each for owned in self.fleet.owned.values() for each in owned)
        assert not [each for each, count in owners.items() if count > 1]
        assert not [each for each in self.fleet.seating.pending if owners[each]]

    @invariant()
    def the_numbers_add_up(self) -> None:
        seating = self.fleet.seating
        for seat in seating.seats.values():
            assert seat.waiting == sum(len(batch.connections) for batch in seat.batches) <= seat.most
            assert seat.waiting <= seat.handed
        assert seating.total == sum(seat.waiting for seat in seating.seats.values()) <= TOTAL_MAX

    @invariant()
    def whoever_is_late_is_given_nothing(self) -> None:
        self.fleet.look()
        for listener in (1, 2):
            if self.fleet.seating.can_take(listener):
                seat = self.fleet.seating.choose(probe := Connection(-1, listener, ""))
                assert seat is not None
                assert not seat.is_late(self.fleet.now)
                self.fleet.seating.refuse(seat, [probe], self.fleet.now - 60)  # undone
                assert self.fleet.seating.pending.popleft() is probe


AnyOrder.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
