"""Whose connection is it, where a proxy speaks for its clients? For strategies that look at the address.

The header is looked at and not read (MSG_PEEK): the worker reads it, and judges it, as if nobody had. A connection
whose header has not come waits here, in the master's selector: so many at most, and each for a moment only. Whoever is
late, or the first of too many, or says what is no header is known by its peer's address; so is who is not trusted.
Never blocks, and nobody waits behind another.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

from prefork.config.model import Config
from prefork.core.balance import is_sticky
from prefork.core.handoff import Connection
from prefork.system import clock

if TYPE_CHECKING:
    from prefork.serve.proxy_protocol import Header
    from prefork.serve.trust import TrustedPeers

PATIENCE_S = 0.25
"""A proxy sends the header with its first packet."""
LOOK_AGAIN_S = 0.01
"""A header that has begun: its first bytes stay unread, so that the selector would tell of them for ever."""
GUESTS_MAX = 256
"""Each is a descriptor of the master's."""
PEEKED_BYTES = 4096
"""The addresses come first; who has more to say than that is known by its peer's address."""


class Lobby:
    """Connections that have been accepted, and whose client is not known yet."""

    def __init__(self, selector: selectors.BaseSelector, now: Callable[[], float] = clock.monotonic) -> None:
        self._selector = selector
        self._now = now
        self._trusted: TrustedPeers | None = None
        self._read_header: Callable[[bytes], Header | None] | None = None
        self._guests: dict[Connection, float] = {}
        """Until when each may wait, the first who came first."""
        self._begun: set[Connection] = set()
        """Some of the header is there: these are looked at by the clock."""
        self._look_at = 0.0
        self._known: list[Connection] = []

    def serve(self, config: Config) -> None:
        """Expect headers if this configuration does, and its strategy asks for addresses."""
        self._trusted = None
        if config.proxy_protocol and is_sticky(config.balance):
            # Only those who use it have it in memory.
            from prefork.serve.proxy_protocol import read_header  # noqa: PLC0415
            from prefork.serve.trust import TrustedPeers  # noqa: PLC0415

            self._trusted = TrustedPeers(config.forwarded_allow_ips)
            self._read_header = read_header

    def greet(self, connection: Connection) -> Connection | None:
        """The same with its client's address; None if it waits here for its header."""
        if self._trusted is None or not self._trusted.trusts(connection.address or None):
            return connection
        data = peek(connection.fd)
        if (known := self._identify(connection, data)) is not None:
            return known
        if len(self._guests) >= GUESTS_MAX:
            longest = next(iter(self._guests))
            self._let_go(longest, longest)
        self._guests[connection] = self._now() + PATIENCE_S
        if data:
            self._expect_more(connection)
        else:
            self._selector.register(connection.fd, selectors.EVENT_READ, lambda: self._look(connection))
        return None

    def next_deadline(self) -> float | None:
        """When `tend` has something to do though nothing came; None if it has not."""
        if not self._guests:
            return None
        late_at = next(iter(self._guests.values()))
        return min(late_at, self._look_at) if self._begun else late_at

    def tend(self) -> None:
        """For every turn of the loop."""
        now = self._now()
        if self._begun and self._look_at <= now:
            self._look_at = now + LOOK_AGAIN_S
            for connection in list(self._begun):
                self._look_on(connection)
        while self._guests:
            connection, late_at = next(iter(self._guests.items()))
            if late_at > now:
                return
            self._let_go(connection, connection)

    def find_next(self) -> Connection | None:
        """Of those that waited and are known now, the first."""
        return self._known[0] if self._known else None

    def take(self, most: int) -> list[Connection]:
        """The first ones, as long as they came to one listener."""
        known = self._known[:most]
        taken = list(takewhile(lambda connection: connection.listener == known[0].listener, known))
        del self._known[: len(taken)]
        return taken

    def empty(self) -> list[Connection]:
        """Those that wait as well, by their peers' addresses."""
        for connection in list(self._guests):
            self._let_go(connection, connection)
        known, self._known = self._known, []
        return known

    def _look(self, connection: Connection) -> Iterator[None]:
        """Something has come, an end of file perhaps."""
        if connection in self._guests and connection not in self._begun:  # else it was let go in this turn
            self._selector.unregister(connection.fd)
            self._expect_more(connection)
            self._look_on(connection)
        yield from ()

    def _look_on(self, connection: Connection) -> None:
        if (known := self._identify(connection, peek(connection.fd))) is not None:
            self._let_go(connection, known)

    def _expect_more(self, connection: Connection) -> None:
        if not self._begun:
            self._look_at = self._now() + LOOK_AGAIN_S
        self._begun.add(connection)

    def _let_go(self, connection: Connection, known: Connection) -> None:
        del self._guests[connection]
        if connection in self._begun:
            self._begun.remove(connection)
        else:
            self._selector.unregister(connection.fd)
        self._known.append(known)

    def _identify(self, connection: Connection, data: bytes | None) -> Connection | None:
        """None while nobody can tell."""
        if data is None:
            return None
        assert self._read_header is not None  # noqa: S101  # nobody waits where no header is expected
        try:
            header = self._read_header(data) if data else None
        except ValueError:  # no header: whoever gets it closes it
            return connection
        if header is None:
            return None if 0 < len(data) < PEEKED_BYTES else connection
        if not header.is_spoken_for:
            return connection
        return connection._replace(address=header.client[0] if header.client else "")


def peek(fd: int) -> bytes | None:
    """What has come, which stays where it is; None if nothing has, empty at the end of file or when it is broken."""
    # The kind does not matter to recv(2), and to ask the kernel for it takes three system calls.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        return sock.recv(PEEKED_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
    finally:
        sock.detach()
