"""Handing over with real sockets and workers that live only here: the master's part, turn by turn."""

from __future__ import annotations

import logging
import os
import selectors
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from prefork.config.addresses import parse_address
from prefork.core import events as on
from prefork.core.handoff import DEAF_S, PATIENCE_MOST_S, PATIENCE_S, STALE_S
from prefork.core.states import WorkerState
from prefork.master.choosing import Choosing
from prefork.master.handing import ACCEPTS, Handing
from prefork.system.handover import Inlet, open_handover
from prefork.system.listeners import Listener, bind_listener
from prefork.system.scoreboard import CONNECTIONS, IN_FLIGHT, TAKEN, TICK, make_scoreboard
from tests.system.children import list_fds

BOARD = make_scoreboard()


class Office:
    """The master's end, and the workers' inlets. `turn` is a turn of the loop."""

    def __init__(self, workers: int = 3, balance: str = "round-robin") -> None:
        self.now = 1000.0
        self.scoreboard = BOARD
        for row in range(8):
            BOARD.clear_row(row)
        self.selector = selectors.DefaultSelector()
        self.states: dict[int, WorkerState] = {}
        self.inlets: dict[int, Inlet] = {}
        self.choosing = Choosing(self.selector, lambda: self.now)
        self.running: set[int] = set()
        """Serials of those who wait for a processor."""
        self.handing = Handing(
            self.selector,
            self.scoreboard,
            self.states.get,
            self.choosing,
            is_running=lambda serial: serial in self.running,
            now=lambda: self.now,
        )
        self.listener: Listener = bind_listener(parse_address("127.0.0.1:0"), backlog=256, socket_mode=0o600)
        self.handing.listen({1: self.listener})
        self.clients: list[socket.socket] = []
        self.balance = balance
        for serial in range(workers):
            self.fork(serial, serial)
            self.ready(serial)
        self.turn()

    def fork(self, serial: int, slot: int, limit: int = 0) -> None:
        outlet = open_handover()
        self.inlets[serial] = Inlet(os.dup(outlet.theirs.fileno()))
        self.states[serial] = WorkerState.BOOTING
        self.handing.seat(
            serial, slot, 1, serial, newest_listener=1, balance=self.balance, limit=limit, outlet=outlet
        )

    def ready(self, serial: int) -> None:
        self.states[serial] = WorkerState.READY
        self.beat(serial)

    def beat(self, *serials: int) -> None:
        for serial in serials:
            self.scoreboard.row(serial)[TICK] = int(self.now * 1e9)

    def turn(self, seconds: float = 0.0) -> list[on.AnyEvent]:
        """Whatever is ready is handled, then what is due."""
        self.now += seconds
        events: list[on.AnyEvent] = []
        for key, _ in self.selector.select(0):
            events += key.data()
        return events + list(self.handing.tend())

    def connect(self, count: int) -> None:
        self.clients += [socket.create_connection(self.listener.sock.getsockname()) for _ in range(count)]

    def take(self, serial: int, *, acknowledges: bool = True) -> int:
        """What that worker has received; it says so, and closes it."""
        taken = 0
        while (handed := self.inlets[serial].receive()) is not None:
            taken += len(handed.fds)
            for fd in handed.fds:
                os.close(fd)
            if acknowledges:
                self.inlets[serial].acknowledge(handed.sequence, len(handed.fds))
        return taken

    def is_polling(self) -> bool:
        return self.listener in self.selector.get_map()

    def close(self) -> None:
        self.handing.close()
        for inlet in self.inlets.values():
            inlet.close()
        for client in self.clients:
            client.close()
        self.listener.close()
        self.selector.close()


@pytest.fixture
def office() -> Iterator[Office]:
    before = list_fds()
    office = Office()
    yield office
    office.close()
    assert list_fds() <= before, "every descriptor was given back"


def test_connections_are_handed_over_and_our_copies_closed_when_they_are_acknowledged(office: Office) -> None:
    office.connect(7)
    before = list_fds()
    office.turn()
    assert len(list_fds() - before) == 7
    assert [office.take(serial) for serial in range(3)] == [3, 2, 2]
    office.turn()
    assert list_fds() <= before


def test_a_turn_accepts_a_bounded_number() -> None:
    office = Office(workers=8)
    try:
        office.connect(ACCEPTS + 20)
        office.turn()
        assert sum(office.take(serial) for serial in range(8)) == ACCEPTS
        office.turn()
        assert sum(office.take(serial) for serial in range(8)) == 20
    finally:
        office.close()


def test_when_the_last_worker_is_gone_time_wakes_nobody() -> None:
    office = Office(workers=1)
    try:
        office.connect(1)
        office.turn()
        office.turn(PATIENCE_S)
        office.handing.finish()
        office.take(0)
        office.turn()
        office.handing.unseat(0)
        office.turn()
        assert office.handing.next_deadline() is None
    finally:
        office.close()


@pytest.mark.parametrize(
    "state", [WorkerState.BOOTING, WorkerState.DRAINING, WorkerState.KILLED, WorkerState.EXITED]
)
def test_whoever_is_not_ready_gets_none(office: Office, state: WorkerState) -> None:
    office.states[1] = state
    office.connect(6)
    office.turn()
    assert [office.take(serial) for serial in range(3)] == [3, 0, 3]


def test_a_worker_that_has_stopped_beating_gets_none(office: Office) -> None:
    office.now += STALE_S + 0.1
    office.beat(0, 2)
    office.connect(6)
    office.turn()
    assert [office.take(serial) for serial in range(3)] == [3, 0, 3]


def test_without_anybody_the_listener_is_not_polled_and_time_wakes_nobody(office: Office) -> None:
    for serial in range(3):
        office.states[serial] = WorkerState.DRAINING
    office.connect(3)
    office.turn()
    office.turn()
    assert not office.is_polling()
    assert office.handing.next_deadline() is None
    office.ready(2)
    office.turn()
    office.turn()
    assert office.take(2) == 3


def test_when_all_are_full_the_backlog_waits_and_room_is_found_within_milliseconds() -> None:
    office = Office(workers=0)
    try:
        office.fork(0, 0, limit=2)
        office.ready(0)
        office.turn()
        office.connect(5)
        office.turn()
        assert not office.is_polling()
        assert office.take(0) == 2
        row = office.scoreboard.row(0)
        row[IN_FLIGHT], row[TAKEN] = 2, 2  # it counts them now, and is busy with both
        office.turn()
        deadline = office.handing.next_deadline()
        assert deadline is not None
        assert deadline <= office.now + 0.02
        row[IN_FLIGHT] = 1
        office.turn(0.02)
        office.turn()
        assert office.take(0) == 1
    finally:
        office.close()


def test_what_a_dead_worker_did_not_acknowledge_goes_to_the_others(office: Office) -> None:
    office.connect(6)
    office.turn()
    assert office.take(0, acknowledges=False) == 2
    del office.states[0]
    office.handing.unseat(0)
    assert office.handing.next_deadline() == 0.0
    office.turn()
    assert [office.take(serial) for serial in (1, 2)] == [3, 3]


def test_what_a_stopped_worker_has_not_received_goes_to_the_others_and_not_to_it(office: Office) -> None:
    office.connect(6)
    office.turn()
    assert [office.take(serial) for serial in (1, 2)] == [2, 2]
    office.turn()
    office.turn(PATIENCE_S)
    assert [office.take(serial) for serial in (1, 2)] == [1, 1]
    office.connect(2)
    office.turn()
    assert [office.take(serial) for serial in (0, 1, 2)] == [0, 1, 1], "the stopped one finds a probe"
    office.turn()
    office.connect(3)
    office.turn()
    assert [office.take(serial) for serial in range(3)] == [1, 1, 1], "and is back"


def test_a_worker_that_waits_for_a_processor_is_given_longer_but_not_for_ever(office: Office) -> None:
    office.running.add(0)
    office.connect(6)
    office.turn()
    assert [office.take(serial) for serial in (1, 2)] == [2, 2]
    office.turn()
    for _ in range(9):
        office.connect(1)
        office.turn(PATIENCE_S)
        office.take(1), office.take(2)
        office.turn()
    assert [len(seat.batches) for seat in office.handing._seating.seats.values()] == [4, 0, 0], (
        "its turns, too"
    )
    office.turn(PATIENCE_S + 0.001)
    assert sum(office.take(serial) for serial in (1, 2)) == 5
    assert office.take(0) == 0


def test_a_worker_that_clients_are_to_stay_with_is_given_longer(office: Office) -> None:
    office.fork(7, 7)
    office.balance = "ip-hash"
    office.fork(6, 6)
    seats = office.handing._seating.seats
    assert (seats[7].patience_s, seats[6].patience_s) == (PATIENCE_S, PATIENCE_MOST_S)


def test_a_worker_that_has_received_and_is_stopped_keeps_what_it_has(office: Office) -> None:
    office.connect(3)
    office.turn()
    assert office.take(0, acknowledges=False) == 1
    office.take(1), office.take(2)
    office.turn()
    for _ in range(3):
        office.turn(PATIENCE_S)
    assert [office.take(serial) for serial in (1, 2)] == [0, 0]


def test_alone_a_late_worker_keeps_what_it_was_given_and_the_loop_does_not_spin() -> None:
    office = Office(workers=1)
    try:
        office.connect(2)
        office.turn()
        office.turn(PATIENCE_S)
        deadline = office.handing.next_deadline()
        assert deadline is not None
        assert deadline > office.now
        assert office.take(0) == 2
    finally:
        office.close()


def test_whoever_beats_and_never_acknowledges_is_reported(office: Office) -> None:
    office.connect(3)
    office.turn()
    for serial in (1, 2):
        office.take(serial)
    office.turn(PATIENCE_S)
    office.turn(DEAF_S)
    office.beat(0, 1, 2)
    assert office.turn(1.0) == [on.WorkerMisbehaved(0, "it does not take the connections that it is given")]


def test_a_liar_is_reported_and_not_heard_any_more(office: Office) -> None:
    office.inlets[1].acknowledge(1, 1)
    assert office.turn() == [on.WorkerMisbehaved(1, "it misbehaved: it acknowledges what it was not given")]
    office.inlets[1].acknowledge(1, 1)
    assert office.turn() == []


def test_at_the_end_draining_workers_get_what_is_pending_and_without_any_it_is_closed(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.connect(3)
    office.turn()
    for serial in range(3):
        office.states[serial] = WorkerState.DRAINING
    office.handing.finish()
    assert not office.is_polling()
    del office.states[0]
    office.handing.unseat(0)
    office.turn()
    assert sorted(office.take(serial, acknowledges=False) for serial in (1, 2)) == [1, 2]
    for serial in (1, 2):
        del office.states[serial]
        office.handing.unseat(serial)
    office.turn()
    with caplog.at_level(logging.WARNING):
        office.handing.close()
    assert caplog.messages == ["connections closed: no worker"]
    for client in office.clients:
        client.settimeout(5)
        assert client.recv(1) == b""


def test_a_listener_that_is_left_is_not_polled_any_more(office: Office) -> None:
    office.handing.listen({})
    assert not office.is_polling()
    office.handing.listen({1: office.listener})
    office.turn()
    assert office.is_polling()


def test_a_large_batch_for_one_worker_takes_several_messages() -> None:
    office = Office(workers=2, balance="ip-hash")
    try:
        office.handing.unseat(1)  # so that what is pending is for one
        del office.states[1]
        office.states[0] = WorkerState.BOOTING
        office.turn()
        office.connect(150)
        office.states[0] = WorkerState.READY
        taken = 0
        for _ in range(8):
            office.turn()
            taken += office.take(0)
        assert taken == 150
    finally:
        office.close()


def test_a_burst_is_shared_by_who_has_fewest() -> None:
    office = Office(workers=4, balance="least-connections")
    try:
        office.scoreboard.row(0)[CONNECTIONS] = 10
        office.connect(30)
        office.turn()
        assert Counter({serial: office.take(serial) for serial in range(4)}) == {0: 0, 1: 10, 2: 10, 3: 10}
    finally:
        office.close()
