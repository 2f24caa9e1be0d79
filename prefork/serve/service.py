"""What a worker asks of the app's side, whatever the interface: one `Service` per worker.

The worker accepts sockets and hands each to `loop.connect_accepted_socket(service.open_connection, sock)`.
It never looks inside a connection. Drain is the service's job: it answers what is in flight, whatever arrives on
connections that are open, and closes them when they have nothing more to say.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prefork.serve.access_log import AccessLog

from prefork.serve.tally import Tally

CONNECTIONS, IN_FLIGHT, REQUESTS = range(3)
"""What each cell of `Counters` counts, in the order of the scoreboard's row."""


class Cells(Protocol):
    """Numbers in a row: a list, or a part of the shared memory."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


class Counters:
    """What the service counts, where others can see it: in cells that the worker shares with the master.

    Connections and requests in flight are written to `cells` at once, not at the next beat: they must be true also of
    a worker that was killed between two instructions. Changing a shared cell takes about twice as long as changing an
    attribute (some 60 ns more): HTTP counts everything else in its `tally`.
    """

    __slots__ = ("cells", "tally")

    def __init__(self, cells: Cells | None = None, tally: Tally | None = None) -> None:
        self.cells: Cells = array("Q", (0, 0, 0)) if cells is None else cells
        """Three numbers, all 0 at first; private unless given (a worker gives its row of the scoreboard, once it
        knows which that is). Like the scoreboard's they refuse to go below 0."""
        self.tally = tally
        """What HTTP counts besides, its requests with it; they get to their cell when somebody copies them."""

    @property
    def connections(self) -> int:
        """Open now, WebSockets among them."""
        return self.cells[CONNECTIONS]

    @property
    def in_flight(self) -> int:
        """Requests between their head and the end of their response (stream, protocol: same as connections). An open
        WebSocket is none: its request was the handshake, and one at rest must not be told as lost.
        """
        return self.cells[IN_FLIGHT]

    @property
    def requests(self) -> int:
        """Answered since the start (stream, protocol: connections closed)."""
        return self.cells[REQUESTS] if self.tally is None else self.tally.requests()


class Service(Protocol):
    """One worker's app, ready to be connected to sockets. All methods run on the worker's loop thread."""

    counters: Counters

    async def start_up(self) -> None:
        """ASGI lifespan startup; nothing for the others. Raises `errors.AppError` when the app refuses."""

    def count_in(self, cells: Cells) -> None:
        """Count there from now on; the cells are all 0, and no connection was ever open."""

    def log_access(self, log: AccessLog) -> None:
        """Tell of every request there. Only HTTP has any; the others do nothing."""

    def open_connection(self) -> asyncio.BaseProtocol:
        """The protocol factory: a new protocol object for one accepted socket."""

    def drain(self) -> None:
        """From now on every response says `Connection: close`; fresh and idle connections keep their normal
        keep-alive time to speak, and are answered if they do. WebSockets are closed soon, or let be, as configured.
        May be called twice.
        """

    def hear_by(self, catch_up: Callable[[], None]) -> None:
        """Call this after a call of the app's that held the loop and before promising its client anything: the order
        to drain may have come meanwhile. It is cheap, and may call `drain`.
        """

    def ask_to_leave(self, count: int) -> int:
        """Until told otherwise, ask so many connections that have been here for a while to come again elsewhere; return
        how many were asked since the start. Only HTTP has words for it; the others do nothing.
        """

    async def wait_drained(self) -> None:
        """Return when no connection is open and no call of the app's runs: a background task may outlive its
        response. The caller holds the deadline and may cancel.
        """

    def cut(self) -> int:
        """Abort every open connection at once; return how many requests in flight were lost."""

    async def shut_down(self) -> None:
        """ASGI lifespan shutdown, thread pool down. Never raises: what the app raises is logged."""
