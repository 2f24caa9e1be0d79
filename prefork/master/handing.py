"""The master accepts, and hands each connection to a worker: every `--balance` but `shared`.

Who gets which, and whose it is, is decided in `core/handoff.py`; here is what is done about it. Never blocks, and
accepts a bounded number in each turn of the loop, so that signals and children are heard in between. A listener is
polled only while somebody can take what comes: the kernel's backlog is the only queue. Our copy of a connection is
closed when its worker has acknowledged it.
"""

from __future__ import annotations

import logging
import os
import selectors
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

from prefork.core import events as on
from prefork.core.balance import find_strategy, is_sticky
from prefork.core.handoff import PAUSE_S, Connection, Reading, Seat, Seating
from prefork.core.states import WorkerState
from prefork.master.choosing import Choosing
from prefork.master.lobby import Lobby
from prefork.system import clock
from prefork.system.handover import FDS_MAX, Outlet
from prefork.system.listeners import Listener
from prefork.system.scoreboard import CONNECTIONS, IN_FLIGHT, TAKEN, TICK, Scoreboard

logger = logging.getLogger("prefork.master")

ACCEPTS = 64
"""So many at one listener in one turn of the loop."""
LOOK_AGAIN_S = 0.01
"""Nobody says when a full worker has room again: look so often. Only while all of them are full, or stuck."""
COMPLAIN_EVERY_S = 10.0
NEVER = float("inf")


class Handing:
    """One master's handing over. Of a worker, by its serial, `find_state` tells the state, and `is_running` whether it
    runs or waits for a processor, or nobody knows.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        scoreboard: Scoreboard,
        find_state: Callable[[int], WorkerState | None],
        choosing: Choosing,
        *,
        is_running: Callable[[int], bool],
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._selector = selector
        self._scoreboard = scoreboard
        self._find_state = find_state
        self._is_running = is_running
        self.choosing = choosing
        """Asks a strategy of the user's, if there is one."""
        self.lobby = Lobby(selector, now)
        """Finds out who the clients of a proxy are."""
        self._now = now
        self._seating = Seating()
        self._outlets: dict[int, Outlet] = {}
        self._rows: dict[int, memoryview] = {}
        self._listeners: dict[int, Listener] = {}
        self._polled: dict[int, Listener] = {}
        self._is_last = False
        self._look_at = NEVER
        """When to see whether there is room again."""
        self._recall_at = 0.0
        self._deaf_at = NEVER
        self._paused_until = 0.0
        self._complained_at = -COMPLAIN_EVERY_S

    # what the performer tells

    def seat(  # noqa: PLR0913  # made in one place
        self,
        serial: int,
        slot: int,
        gen: int,
        row: int,
        *,
        newest_listener: int,
        balance: str,
        limit: int,
        outlet: Outlet,
    ) -> None:
        """A worker is forked, and `outlet` leads to it. It gets connections once it is ready."""
        self._outlets[serial] = outlet
        self._rows[serial] = self._scoreboard.row(row)
        strategy = find_strategy(balance)
        seat = Seat(serial, slot, gen, newest_listener, strategy, limit=limit, is_sticky=is_sticky(balance))
        self._seating.seat(seat)
        self._selector.register(outlet, selectors.EVENT_READ, lambda: self._hear(seat))

    def unseat(self, serial: int) -> None:
        """It has ended, for certain; what it has not acknowledged goes to others."""
        outlet = self._outlets.pop(serial, None)
        if outlet is None:
            return
        self._stop_hearing(outlet)
        outlet.take_back()  # the copies in it, should anybody else hold the worker's end
        outlet.close()
        del self._rows[serial]
        self._seating.unseat(serial)
        self._look_at = 0.0

    def listen(self, listeners: Mapping[int, Listener]) -> None:
        """What the service listens on from now on. Told before one that is left is closed: the others have copies, and
        as long as any of them is open epoll(7) would go on telling us.
        """
        for number in self._polled.keys() - listeners.keys():
            self._stop_polling(number)
        self._listeners = dict(listeners)

    def finish(self) -> None:
        """The service ends: workers empty the backlogs, as they are told next. What we have accepted is theirs now,
        however busy they are.
        """
        self.listen({})
        self.choosing.give_up()
        self._is_last = True
        self._seating.pending.extend(self.lobby.empty())
        if self._seating.pending:
            self._place(self._now())

    def close(self) -> None:
        """No worker is left."""
        self.choosing.give_up()
        self._seating.pending.extend(self.lobby.empty())
        for serial in list(self._outlets):
            self.unseat(serial)
        if self._seating.pending:
            logger.warning("connections closed: no worker", extra={"connections": len(self._seating.pending)})
            _close(self._seating.pending)
            self._seating.pending.clear()

    # the loop's turn

    def next_deadline(self) -> float | None:
        """When `tend` has something to do though nothing came; None if it has not."""
        late_at = self._seating.next_deadline()
        late_at = NEVER if late_at is None else max(late_at, self._recall_at)
        others = [self.choosing.next_deadline(), self.lobby.next_deadline()]
        deadline = min(late_at, self._look_at, self._deaf_at, *(each for each in others if each is not None))
        return None if deadline == NEVER else deadline

    def tend(self) -> Iterator[on.AnyEvent]:
        """At the end of each turn of the loop: what is late goes to others, what is pending to whoever can take it."""
        seating = self._seating
        yield from self.choosing.tend()
        self.lobby.tend()
        self._welcome()
        if not seating.seats and not seating.pending:
            self._look_at = self._deaf_at = NEVER
            return
        now = self._now()
        if (late_at := seating.next_deadline()) is not None and late_at <= now and self._recall_at <= now:
            self._recall(now)
        if seating.pending:
            self._place(now)
        if len(self._polled) < len(self._listeners) or seating.pending:
            self._resume(now)
        else:
            self._look_at = NEVER
        if self._deaf_at <= now:
            yield from self._find_deaf(now)

    def _resume(self, now: float) -> None:
        """Poll the listeners that somebody can take connections from."""
        self._look_at = NEVER
        if self.choosing.is_asked():
            return  # what comes now is asked about next
        if now < self._paused_until:
            self._look_at = self._paused_until
            return
        is_anyone_there = self._look(now)
        for number in self._listeners.keys() - self._polled.keys():
            if self._seating.can_take(number):
                self._polled[number] = listener = self._listeners[number]
                self._selector.register(
                    listener, selectors.EVENT_READ, lambda number=number: self._accept(number)
                )
        if is_anyone_there and (self._seating.pending or len(self._polled) < len(self._listeners)):
            self._look_at = now + LOOK_AGAIN_S

    def _look(self, now: float) -> bool:
        """False if nobody is in rotation."""
        if (late_at := self._seating.next_deadline()) is not None and late_at <= now:
            # Late because it sleeps elsewhere, or only because others run? The former shall hold nobody up.
            for seat in self._seating.find_late(now):
                if self._is_running(seat.serial):
                    self._seating.bear_with(seat, now)
        readings = self._read(now)
        self._seating.look(readings, now, is_last=self._is_last)
        return bool(readings)

    def _read(self, now: float) -> dict[int, Reading]:
        found = {}
        for serial, row in self._rows.items():
            state = self._find_state(serial)
            if state is WorkerState.READY or (self._is_last and state is WorkerState.DRAINING):
                # Before its first beat it cannot have missed one.
                tick_s = row[TICK] / 1e9 or now
                found[serial] = Reading(tick_s, row[CONNECTIONS], row[IN_FLIGHT], row[TAKEN])
        return found

    def _accept(self, number: int) -> Iterable[on.AnyEvent]:
        self._look(self._now())
        if self.choosing.can_ask():
            self._ask(number)
            return ()
        chosen: dict[int, list[Connection]] = {}
        for connection in self._take(number, ACCEPTS):
            self._assign(connection, None, chosen)
        self._send(chosen)
        return ()

    def _take(self, number: int, most: int) -> Iterator[Connection]:
        """What waits at a listener, as long as somebody can take one more."""
        seating = self._seating
        # Without the object that accept() makes for each: a tenth of what a connection costs the master.
        accept = self._polled[number].sock._accept  # type: ignore[attr-defined]  # noqa: SLF001  # typeshed has it not
        for _ in range(most):
            if not seating.can_take(number):
                self._stop_polling(number)
                return
            try:
                fd, address = accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # that client left before its turn; see accept(2)
            except OSError as error:
                self._hold_off(error)
                return
            connection = self.lobby.greet(
                Connection(fd, number, address[0] if isinstance(address, tuple) else "")
            )
            if connection is not None:
                yield connection

    def _welcome(self) -> None:
        """Those that had to wait until their client was known."""
        while (first := self.lobby.find_next()) is not None and not self.choosing.is_asked():
            self._look(self._now())
            known = self.lobby.take(self._count_room(first.listener))
            if self.choosing.can_ask():
                self._ask_about(known)
            else:
                self._grant(known)

    def _ask(self, number: int) -> None:
        self._ask_about(list(self._take(number, self._count_room(number))))

    def _count_room(self, number: int) -> int:
        return max(1, min(ACCEPTS, self._seating.count_room(number)))

    def _ask_about(self, asked: Sequence[Connection]) -> None:
        """Let a strategy of the user's choose, for connections of one listener. Until it has, or has not in time,
        nothing else is accepted.
        """
        candidates = self._seating.list_candidates(asked[0].listener) if asked else ()
        if not candidates:
            self._seating.pending.extend(asked)
            return
        for polled in list(self._polled):
            self._stop_polling(polled)
        addresses = [connection.address for connection in asked]
        self.choosing.ask(candidates, addresses, lambda wishes: self._grant(asked, wishes))

    def _grant(self, asked: Sequence[Connection], wishes: Sequence[int | None] = ()) -> None:
        self._look(self._now())
        chosen: dict[int, list[Connection]] = {}
        for connection, wish in zip_longest(asked, wishes):
            self._assign(connection, wish, chosen)
        self._send(chosen)

    def _assign(self, connection: Connection, wish: int | None, chosen: dict[int, list[Connection]]) -> None:
        if (seat := self._seating.choose(connection, wish)) is None:
            self._seating.pending.append(connection)
        else:
            chosen.setdefault(seat.serial, []).append(connection)

    def _send(self, chosen: Mapping[int, list[Connection]]) -> None:
        for serial, connections in chosen.items():
            seat = self._seating.seats[serial]
            for start in range(0, len(connections), FDS_MAX):
                self._send_some(seat, connections[start : start + FDS_MAX])

    def _send_some(self, seat: Seat, connections: Sequence[Connection]) -> None:
        if self._outlets[seat.serial].send(seat.sequence + 1, [connection.fd for connection in connections]):
            self._seating.hand(seat, connections, self._now())
        else:
            self._seating.refuse(seat, connections, self._now())
            self._look_at = 0.0

    def _place(self, now: float) -> None:
        """Give what is pending to whoever can take it now."""
        seating = self._seating
        self._look(now)
        chosen: dict[int, list[Connection]] = {}
        while seating.pending and (seat := seating.choose(seating.pending[0])) is not None:
            chosen.setdefault(seat.serial, []).append(seating.pending.popleft())
        self._send(chosen)

    # what workers say, and do not say

    def _hear(self, seat: Seat) -> Iterator[on.AnyEvent]:
        outlet = self._outlets[seat.serial]
        try:
            while (word := outlet.receive()) is not None:
                _close(self._seating.acknowledge(seat, word.sequence, word.taken, self._now()))
                if not seat.batches:
                    break  # there can be no other
        except ValueError as error:
            self._stop_hearing(outlet)
            yield on.WorkerMisbehaved(seat.serial, f"it misbehaved: {error}")

    def _recall(self, now: float) -> None:
        """Somebody does not acknowledge: what it has not received goes to others, if there are any."""
        seating = self._seating
        self._look(now)
        self._deaf_at = min(self._deaf_at, now + COMPLAIN_EVERY_S / 2)
        for seat in seating.find_late(now):
            if not seating.is_anyone_free():
                self._recall_at = now + LOOK_AGAIN_S
                break
            outlet = self._outlets[seat.serial]
            seating.take_back(seat, frozenset(outlet.take_back()), now)
            outlet.send(seat.sequence, ())

    def _find_deaf(self, now: float) -> Iterator[on.AnyEvent]:
        is_anyone_late = any(seat.is_late(now) for seat in self._seating.seats.values())
        self._deaf_at = now + 1.0 if is_anyone_late else NEVER
        for serial in self._seating.find_deaf(self._read(now), now):
            yield on.WorkerMisbehaved(serial, "it does not take the connections that it is given")

    # the selector

    def _stop_polling(self, number: int) -> None:
        self._selector.unregister(self._polled.pop(number))
        self._look_at = 0.0

    def _stop_hearing(self, outlet: Outlet) -> None:
        if outlet in self._selector.get_map():
            self._selector.unregister(outlet)

    def _hold_off(self, error: OSError) -> None:
        """Without descriptors a ready listener would wake us for ever."""
        now = self._now()
        self._paused_until = now + PAUSE_S
        for number in list(self._polled):
            self._stop_polling(number)
        if now >= self._complained_at + COMPLAIN_EVERY_S:
            self._complained_at = now
            logger.warning("cannot accept: %s", error.strerror)


def _close(connections: Iterable[Connection]) -> None:
    for connection in connections:
        os.close(connection.fd)
