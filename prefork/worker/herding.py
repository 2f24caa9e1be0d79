"""One worker among the others: what the scoreboard says of them, and what this one tells them of itself.

The accept path asks `may_take` before each connection and tells of each that it took; what it decides is in
`core/gate.py`, and under full load, when there is enough for everybody, no row but our own is read to know it. At most
64 rows are read ever: workers beyond that are herds of their own, each of which spreads what it takes.
"""

from __future__ import annotations

import socket
from operator import add

from prefork.core.gate import Gate, Herd, is_lighter
from prefork.core.shedding import Shedding
from prefork.system import clock
from prefork.system.backlog import count_waiting
from prefork.system.processes import get_pid, read_cpu_ns, read_state
from prefork.system.scoreboard import (
    ACCEPTED,
    CONNECTIONS,
    IN_FLIGHT,
    IN_ROTATION,
    OPENING,
    PID,
    TICK,
    Scoreboard,
)

HERD_ROWS = 64
GRANT_NS = 2_000_000
"""How long it holds that so many may be taken without another look."""

FAIR_NS = 1_000_000
"""How long the answer to a look holds, for no more connections than then: those of the others change as quickly."""

BUSY_NS = 4_000_000
"""Who runs for longer than this without taking a connection has something else to do."""


class Herding:
    """One worker's view. `limit`: so many requests in flight and it takes no more connections; 0 for no limit."""

    def __init__(self, scoreboard: Scoreboard, row: int, limit: int = 0) -> None:
        self._scoreboard = scoreboard
        self._row = scoreboard.row(row)
        self._row[PID] = get_pid()
        self._first = row - row % HERD_ROWS
        self._me = row - self._first
        self.limit = limit
        self._granted = 0
        self._granted_until_ns = 0
        self._fair_at = 0
        self._fair_until_ns = 0
        """Until then, whoever has no more than `_fair_at` may take another."""
        self._ran: dict[int, tuple[int, int, int]] = {}
        """Of those we waited for: place -> pid, what it had accepted, how long it had run."""
        self._gate = Gate()
        self._shedding = Shedding()

    # For the accept path.

    def may_take(self, listener: socket.socket) -> bool:
        """Whether a connection that waits there is for us. If not: look away for `gate.LEASE_S`."""
        row = self._row
        mine = row[CONNECTIONS] + row[OPENING]
        if not mine:
            return True  # nobody has fewer, whoever they are
        now_ns = clock.monotonic_ns()
        if mine <= self._fair_at and now_ns < self._fair_until_ns:
            return True  # as when we looked last; this is how it is with a connection for each request
        if self._granted and now_ns < self._granted_until_ns:
            self._granted -= 1
            return True
        if is_lighter(min(self._read_loads()), mine):
            waiting = count_waiting(listener)
            # As if nobody else had anything: more than enough to fill everybody up to where we are?
            surplus = 0 if waiting is None else waiting - mine * self._scoreboard.rows_used
            if surplus > 0:
                # If every worker takes so many, half of the surplus is gone, and each has raised its mark by the other.
                self._granted = surplus // (2 * max(1, self._scoreboard.rows_used))
                self._granted_until_ns = now_ns + GRANT_NS
                return True
            if not self._gate.may_take(self._me, self._look(), now_ns, waiting, self._is_coming):
                return False
        else:  # whoever they are: nothing else need be asked
            self._gate.pass_by()
        self._fair_at, self._fair_until_ns = mine, now_ns + FAIR_NS
        return True

    def is_full(self) -> bool:
        """Whether as many requests as may be are in flight, or about to be."""
        row = self._row
        return 0 < self.limit <= row[IN_FLIGHT] + row[OPENING]

    def note_accepted(self) -> None:
        """A connection is ours, and being opened."""
        self._row[ACCEPTED] += 1
        self._row[OPENING] += 1

    def note_opened(self) -> None:
        """The same one is open and counted as such, or never will be."""
        self._row[OPENING] -= 1

    def show_rotation(self, *, is_in: bool) -> None:
        """Whether others may leave a connection to us."""
        self._row[IN_ROTATION] = is_in

    def is_in_rotation(self) -> bool:
        """What we have shown."""
        return bool(self._row[IN_ROTATION])

    # For the beat.

    def count_surplus(self) -> int:
        """How many connections to ask to leave."""
        return self._shedding.count(self._me, self._look(), clock.monotonic_ns())

    def _look(self) -> Herd:
        first, end, column = self._first, self._find_end(), self._scoreboard.column
        return Herd(
            loads=self._read_loads(),
            ticks_ns=column(TICK, first, end),
            in_rotation=column(IN_ROTATION, first, end),
            accepted=column(ACCEPTED, first, end),
        )

    def _is_coming(self, place: int) -> bool:
        """Whether it only waits for a processor. One that has had it for a while, and took nothing, is busy."""
        row = self._scoreboard.row(self._first + place)
        pid, accepted = row[PID], row[ACCEPTED]
        if read_state(pid) != "R" or (cpu_ns := read_cpu_ns(pid)) is None:
            return False
        seen = self._ran.get(place)
        if seen is None or seen[:2] != (pid, accepted):
            self._ran[place] = pid, accepted, cpu_ns
            return True
        return cpu_ns - seen[2] < BUSY_NS

    def _read_loads(self) -> list[int]:
        first, end, column = self._first, self._find_end(), self._scoreboard.column
        return list(map(add, column(CONNECTIONS, first, end), column(OPENING, first, end)))

    def _find_end(self) -> int:
        # The header is the master's, and it may be about to count us out.
        return max(min(self._first + HERD_ROWS, self._scoreboard.rows_used), self._first + self._me + 1)
