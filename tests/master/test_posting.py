"""The post between workers: everybody gets theirs, and neither a flood nor a deaf worker costs the master anything."""

from __future__ import annotations

import selectors
from collections.abc import Iterator

import msgspec
import pytest

from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_worker
from prefork.master.children import MESSAGES_MAX, Children, WorkerHandle
from prefork.master.posting import (
    COMPLAIN_EVERY_S,
    QUEUE_BYTES,
    WINDOW_DELIVERIES,
    WINDOW_MESSAGES,
    WINDOW_S,
    Posting,
)
from prefork.system.channel import Channel, open_pair
from tests.system.children import list_fds


class Office:
    """Three workers, in slots 0 to 2, with serials 10 to 12, and the master's end of it all."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.selector = selectors.DefaultSelector()
        self.children = Children(self.selector)
        self.ready = {10, 11, 12}
        self.posting = Posting(self.children, self.ready.__contains__, lambda: self.now)
        self.ends: dict[int, Channel] = {}
        self._readers = {serial: read_from_master_as_worker() for serial in range(10, 80)}
        for slot in range(3):
            self.add(10 + slot, slot)

    def add(self, serial: int, slot: int) -> WorkerHandle:
        channel, theirs = open_pair()
        worker = WorkerHandle(serial, slot, 1, serial, channel)
        self.children.add_worker(worker, lambda: iter(()))
        self.children.release(worker)
        self.ends[serial] = Channel(theirs)
        return worker

    def post(self, serial: int, message: object, to: int | None = None) -> None:
        self.posting.take(
            self.children.workers[serial], say.Post(to, msgspec.Raw(msgspec.json.encode(message)))
        )

    def read(self, serial: int) -> list[tuple[int, object]]:
        """What that worker has received: (sender, message)."""
        heard = []
        while data := self.ends[serial].receive():
            heard += self._readers[serial].feed(data)
            self.children.flush(self.children.workers[serial].channel)
        return [(m.sender, msgspec.json.decode(m.data)) for m in heard if isinstance(m, say.Deliver)]

    def is_read(self, serial: int) -> bool:
        """Does the master listen to it?"""
        key = self.selector.get_map().get(self.children.workers[serial].channel)
        return key is not None and bool(key.events & selectors.EVENT_READ)

    def close(self) -> None:
        for serial in list(self.children.workers):
            self.children.drop_worker(serial)
        for end in self.ends.values():
            end.close()
        self.selector.close()


@pytest.fixture
def office() -> Iterator[Office]:
    before = list_fds()
    office = Office()
    yield office
    office.close()
    assert list_fds() <= before


def test_a_message_to_all_reaches_every_other_ready_worker(office: Office) -> None:
    office.ready.discard(12)
    office.post(10, {"a": [1, None]})
    office.post(11, "b")
    office.posting.deliver()
    assert [office.read(serial) for serial in (10, 11, 12)] == [[(1, "b")], [(0, {"a": [1, None]})], []]
    assert office.posting.next_deadline() is None


def test_a_message_to_a_slot_reaches_its_ready_worker_alone(office: Office) -> None:
    office.add(20, 1)  # a reload: two workers in slot 1, the old one drains
    office.ready ^= {11, 20}
    office.post(10, 1, to=1)
    office.post(11, 2, to=1)
    office.posting.deliver()
    assert [office.read(serial) for serial in (10, 11, 12, 20)] == [[], [], [], [(0, 1), (1, 2)]]


def test_what_is_for_nobody_is_dropped_and_counted_in_one_line(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        office.post(10, 1, to=0)  # itself
        office.post(10, 1, to=7)
        office.posting.deliver()
    assert office.posting.next_deadline() == office.now + COMPLAIN_EVERY_S
    office.now += COMPLAIN_EVERY_S
    office.posting.deliver()
    assert office.posting.next_deadline() is None
    assert [(r.getMessage(), vars(r)["absent"]) for r in caplog.records] == [
        ("messages dropped", 2),
        ("messages dropped", 8),
    ]


def test_a_deaf_worker_owes_a_bounded_amount_and_is_not_cut_off(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    channel = office.children.workers[12].channel
    heard = 0
    for _ in range(1000):
        office.now += WINDOW_S
        office.post(10, "x" * 60_000)
        office.posting.deliver()
        assert channel.unsent_bytes <= QUEUE_BYTES
        heard += len(office.read(11))
    assert heard == 1000, "the other one gets everything"
    deaf = office.read(12)
    assert 4 <= len(deaf) < 20
    assert len(caplog.records) == 1000 * WINDOW_S / COMPLAIN_EVERY_S
    office.post(10, "again")
    office.posting.deliver()
    assert office.read(12) == [(0, "again")], "and it gets more once it reads"


def test_a_flood_in_one_turn_stays_bounded(office: Office) -> None:
    for number in range(WINDOW_MESSAGES):
        office.post(10, [number, "x" * 10_000])
    office.posting.deliver()
    assert len(office.read(11)) * 10_000 < 2 * QUEUE_BYTES


def test_who_says_too_much_is_not_read_until_its_next_window(office: Office) -> None:
    for number in range(2 * WINDOW_MESSAGES + 50):
        office.post(10, number)
    office.post(11, "not the one who floods")
    office.posting.deliver()
    assert [office.is_read(serial) for serial in (10, 11, 12)] == [False, True, True]
    assert office.posting.next_deadline() == office.now + WINDOW_S
    received = office.read(12)
    assert received[:-1] == [(0, number) for number in range(WINDOW_MESSAGES)]

    office.posting.deliver()
    assert office.read(12) == [], "not before its time"
    office.now += WINDOW_S
    office.posting.deliver()
    assert len(office.read(12)) == WINDOW_MESSAGES
    assert not office.is_read(10)
    office.now += WINDOW_S
    office.posting.deliver()
    assert office.read(12) == [(0, number) for number in range(2 * WINDOW_MESSAGES, 2 * WINDOW_MESSAGES + 50)]
    assert office.is_read(10)
    assert office.posting.next_deadline() is None


def test_with_many_workers_a_message_to_all_costs_its_sender_more(office: Office) -> None:
    for serial in range(20, 80):
        office.add(serial, serial)
        office.ready.add(serial)
    for number in range(WINDOW_MESSAGES):
        office.post(10, number)
    office.posting.deliver()
    others = len(office.children.workers) - 1
    assert len(office.read(11)) * others <= WINDOW_DELIVERIES / others + others
    assert not office.is_read(10)
    for number in range(WINDOW_MESSAGES):
        office.post(11, number, to=0)
    office.posting.deliver()
    assert office.is_read(11)


def test_what_a_dead_worker_said_is_still_delivered_and_then_forgotten(office: Office) -> None:
    for number in range(WINDOW_MESSAGES + 10):
        office.post(10, number)
    office.posting.deliver()
    office.children.drop_worker(10)
    office.now += WINDOW_S
    office.posting.deliver()
    assert len(office.read(11)) == WINDOW_MESSAGES + 10
    office.posting.deliver()
    assert office.posting._senders == {}


def test_a_message_for_a_worker_that_has_gone_meanwhile_is_nobodys(office: Office) -> None:
    office.post(10, 1)
    office.children.drop_worker(12)
    office.posting.deliver()
    assert office.read(11) == [(0, 1)]


def test_a_held_worker_is_still_written_to(office: Office) -> None:
    for number in range(WINDOW_MESSAGES + 1):
        office.post(10, number)
    office.posting.deliver()
    office.children.send_lines(office.children.workers[10], b"x" * 1_000_000)
    key = office.selector.get_map()[office.children.workers[10].channel]
    assert key.events == selectors.EVENT_WRITE
    office.children.stop_reading(office.children.workers[10])
    assert office.children.workers[10].channel not in office.selector.get_map()
    office.now += WINDOW_S
    office.posting.deliver()
    assert not office.is_read(10), "whoever is not listened to any more stays so"


def test_posts_do_not_count_as_a_flood_and_all_else_does(office: Office) -> None:
    worker = office.children.workers[10]
    line = encode(say.Post(None, msgspec.Raw(b"1")))
    assert len(worker.hear(line * (3 * MESSAGES_MAX))) == 3 * MESSAGES_MAX
    assert worker.heard == 0
    worker.hear(encode(say.Retire("now")) * MESSAGES_MAX)
    assert worker.heard == MESSAGES_MAX
