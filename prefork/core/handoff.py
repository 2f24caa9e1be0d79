"""Handing accepted connections to workers: who can take one, and whose each is until its worker has said so.

Pure: descriptors are numbers here, the scoreboard comes in as readings. Each connection is in one place at any time:
pending, on its way to one worker, or acknowledged and forgotten. There are two ways back from a worker, and each is
proof that it has not touched the connection: the kernel gave its message back, unread (`take_back`), or the worker has
ended without acknowledging it (`unseat`). That a worker seems stuck is no proof, and takes nothing from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from prefork.core.balance import Candidate, Strategy

PATIENCE_S = 0.02
"""A worker that has not acknowledged within this is passed over, and what it has not received goes to others …"""
PATIENCE_MOST_S = 0.2
"""… or within this: while it runs or waits for a processor, or if its clients are to stay with it."""
STALE_S = 1.5
"""Three beats missed: a worker is passed over though it has nothing to acknowledge."""
PAUSE_S = 0.1
"""A worker without descriptors, or a channel that takes no more, is left alone for so long."""
DEAF_S = 5.0
"""A worker whose loop beats and which acknowledges nothing for so long is broken."""
BEATS_ON_S = 2.0
"""That its loop beats is sure when it beat so long after it should have acknowledged."""
WAITING_MAX = 16
"""So many connections may be on their way to one worker, where another is as good. Few: of two workers the one that is
free a moment earlier must not take all, and whatever a stuck one is given waits until it is found out.
"""
TOTAL_MAX = 256
"""The same for all together, and for one that a client is to stay with. Each is a descriptor of the master's."""


class Connection(NamedTuple):
    """An accepted connection, and where it came in."""

    fd: int
    listener: int
    address: str
    """The client's; empty on a unix socket."""


class Reading(NamedTuple):
    """What the scoreboard says of a worker that may take connections."""

    tick_s: float
    connections: int
    in_flight: int
    taken: int
    """Of those that were handed to it: as many are counted in `connections`, or have been."""


class Batch(NamedTuple):
    """Connections on their way, in one message."""

    sequence: int
    connections: Sequence[Connection]
    sent_at: float
    late_at: float


class Seat:
    """A worker that connections are handed to. `limit`: requests in flight, 0 is no limit; `is_sticky`: it is no loss
    to a client to wait for this one.
    """

    __slots__ = (
        "batches", "candidate", "gen", "handed", "is_probed", "limit", "most", "newest_listener", "not_before",
        "patience_s", "sequence", "serial", "strategy", "waiting"
    )  # fmt: skip

    def __init__(  # made in one place
        self,
        serial: int,
        slot: int,
        gen: int,
        newest_listener: int,
        strategy: Strategy,
        *,
        limit: int = 0,
        is_sticky: bool = False,
    ) -> None:
        self.serial = serial
        self.gen = gen
        self.newest_listener = newest_listener
        """What came to later ones is for later generations."""
        self.strategy = strategy
        self.limit = limit
        self.most = TOTAL_MAX if is_sticky else WAITING_MAX
        """So many on their way to it."""
        self.patience_s = PATIENCE_MOST_S if is_sticky else PATIENCE_S
        self.candidate = Candidate(slot, serial)
        self.batches: deque[Batch] = deque()
        """On their way, the oldest first."""
        self.sequence = 0
        self.waiting = 0
        """Connections chosen for it and not acknowledged."""
        self.handed = 0
        """Connections chosen for it that it has, or may still get."""
        self.not_before = 0.0
        self.is_probed = False
        """Is a message without connections on its way, by whose acknowledgement it shows that it is back?"""

    def is_late(self, now: float) -> bool:
        """Does it owe an acknowledgement for too long?"""
        return bool(self.batches) and self.batches[0].late_at <= now

    def has_room(self, now: float) -> bool:
        """May one more be on its way?"""
        return self.waiting < self.most and self.not_before <= now and not self.is_late(now)


class Seating:
    """All seats, and every connection that was accepted and is nobody's yet."""

    def __init__(self) -> None:
        self.seats: dict[int, Seat] = {}
        """By serial, in the order of the slots."""
        self.pending: deque[Connection] = deque()
        """Nobody could take them so far."""
        self.total = 0
        """Connections on their way."""
        self._turn = 0
        self._open: list[Seat] = []
        self._choices: dict[int, tuple[Strategy, list[Candidate]] | None] = {}

    def seat(self, seat: Seat) -> None:
        """A worker was forked."""
        seats = [*self.seats.values(), seat]
        seats.sort(key=lambda each: (each.candidate.slot, each.serial))
        self.seats = {each.serial: each for each in seats}

    def unseat(self, serial: int) -> None:
        """A worker has ended, for certain: what it did not acknowledge is pending again."""
        seat = self.seats.pop(serial)
        self._shut(seat)
        for batch in seat.batches:
            self._give_up(seat, batch.connections)

    def look(self, readings: Mapping[int, Reading], now: float, *, is_last: bool = False) -> None:
        """Find out who can take connections now, until the next look; `readings` of those who are in rotation.

        `is_last`: the service ends, so no limit counts any more.
        """
        self._open.clear()
        self._choices.clear()
        for seat in self.seats.values():
            if (reading := readings.get(seat.serial)) is None:
                continue
            uncounted = max(0, seat.handed - reading.taken)
            seat.candidate.connections = reading.connections + uncounted
            seat.candidate.in_flight = reading.in_flight + uncounted
            if is_last or (reading.tick_s >= now - STALE_S and seat.has_room(now) and not _is_full(seat)):
                self._open.append(seat)

    def can_take(self, listener: int) -> bool:
        """Is there anybody for a connection from there?"""
        return self.total < TOTAL_MAX and self._find_choice(listener) is not None

    def is_anyone_free(self) -> bool:
        """Can anybody take anything?"""
        return bool(self._open)

    def count_room(self, listener: int) -> int:
        """How many from there can be taken now, by all together."""
        room = TOTAL_MAX - self.total
        open_here = sum(_count_room(self.seats[each.serial]) for each in self.list_candidates(listener))
        return min(room, open_here)

    def list_candidates(self, listener: int) -> Sequence[Candidate]:
        """Who can take connections from there."""
        choice = self._find_choice(listener)
        return choice[1] if choice is not None else ()

    def choose(self, connection: Connection, wish: int | None = None) -> Seat | None:
        """Whose it shall be; None if nobody can take it. It counts as theirs from now on. `wish`: the serial of whom
        the strategy of the user's has chosen; if that one cannot take it any more, it is as if there were no wish.
        """
        choice = self._find_choice(connection.listener)
        if choice is None or self.total >= TOTAL_MAX:
            return None
        strategy, candidates = choice
        wished = [each for each in candidates if each.serial == wish] if wish is not None else []
        candidate = wished[0] if wished else strategy(candidates, connection.address)
        seat = self.seats[candidate.serial]
        self._turn += 1
        candidate.turn = self._turn
        candidate.connections += 1
        candidate.in_flight += 1
        seat.waiting += 1
        seat.handed += 1
        self.total += 1
        if seat.waiting >= seat.most or _is_full(seat):
            self._shut(seat)
        return seat

    def hand(self, seat: Seat, connections: Sequence[Connection], now: float) -> None:
        """They have left, with the number `seat.sequence + 1`."""
        seat.sequence += 1
        seat.batches.append(Batch(seat.sequence, connections, now, now + seat.patience_s))

    def refuse(self, seat: Seat, connections: Sequence[Connection], now: float) -> None:
        """The kernel had no room for them: they are pending again."""
        seat.not_before = now + PAUSE_S
        self._shut(seat)
        self._give_up(seat, connections)

    def acknowledge(self, seat: Seat, sequence: int, count: int, now: float) -> Sequence[Connection]:
        """The worker has received so many of that message: returns those that it has, the others are pending again.
        Raises ValueError if that cannot be.
        """
        if not seat.batches or seat.batches[0].sequence != sequence:
            raise ValueError("it acknowledges what it was not given")
        batch = seat.batches[0]
        if count > len(batch.connections):
            raise ValueError("it acknowledges more than it was given")
        seat.batches.popleft()
        if not batch.connections:
            seat.is_probed = False
        taken, missing = batch.connections[:count], batch.connections[count:]
        seat.waiting -= count
        self.total -= count
        if missing:  # it is out of descriptors
            self.refuse(seat, missing, now)
        return taken

    def find_late(self, now: float) -> list[Seat]:
        """Those whose unread messages should go to others."""
        return [seat for seat in self.seats.values() if not seat.is_probed and seat.is_late(now)]

    def bear_with(self, seat: Seat, now: float) -> None:
        """It is late, and seems to be on its way: a little longer, but not for ever."""
        batch = seat.batches[0]
        seat.batches[0] = batch._replace(late_at=min(now + PATIENCE_S, batch.sent_at + PATIENCE_MOST_S))

    def take_back(self, seat: Seat, sequences: Collection[int], now: float) -> None:
        """The kernel gave these messages back, so the worker never gets them. A probe is on its way with the number
        `seat.sequence`.
        """
        kept = [batch for batch in seat.batches if batch.sequence not in sequences]
        back = [batch for batch in seat.batches if batch.sequence in sequences]
        seat.batches = deque(kept)
        for batch in reversed(back):
            self._give_up(seat, batch.connections)
        seat.sequence += 1
        seat.batches.append(Batch(seat.sequence, (), now, now))
        seat.is_probed = True
        self._shut(seat)

    def find_deaf(self, readings: Mapping[int, Reading], now: float) -> list[int]:
        """Serials of those who live, and do not acknowledge."""
        return [
            serial
            for serial, reading in readings.items()
            if (batches := self.seats[serial].batches)
            and batches[0].sent_at <= now - DEAF_S
            and batches[0].sent_at + BEATS_ON_S <= reading.tick_s <= now
        ]

    def next_deadline(self) -> float | None:
        """When somebody will be late, if nothing happens before; None if nobody can be."""
        return min(
            [seat.batches[0].late_at for seat in self.seats.values() if seat.batches and not seat.is_probed],
            default=None,
        )

    def _find_choice(self, listener: int) -> tuple[Strategy, list[Candidate]] | None:
        if listener not in self._choices:
            seats = [seat for seat in self._open if listener <= seat.newest_listener]
            self._choices[listener] = None
            if seats:
                newest = max(seats, key=lambda seat: seat.gen)
                self._choices[listener] = (newest.strategy, [seat.candidate for seat in seats])
        return self._choices[listener]

    def _shut(self, seat: Seat) -> None:
        """It can take no more, until the next look."""
        if seat in self._open:
            self._open.remove(seat)
            self._choices.clear()

    def _give_up(self, seat: Seat, connections: Sequence[Connection]) -> None:
        seat.waiting -= len(connections)
        seat.handed -= len(connections)
        self.total -= len(connections)
        self.pending.extendleft(reversed(connections))  # they have waited longest


def _count_room(seat: Seat) -> int:
    room = seat.most - seat.waiting
    return min(room, seat.limit - seat.candidate.in_flight) if seat.limit else room


def _is_full(seat: Seat) -> bool:
    return bool(seat.limit) and seat.candidate.in_flight >= seat.limit
