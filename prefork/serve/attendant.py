"""What a service does with every request besides answering it: ids, forwarded ends, the limit, the access log.

All of it hangs on three places: a reader that looks once a head is complete, a connection that is asked before a
request is begun, and the same connection when a request has ended. Whoever needs none of it has the plain reader and
the plain connection, and pays nothing; a trusted proxy's connection pays for a look at its own fields only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from prefork.serve.clock import stopwatch_ns
from prefork.serve.ends import Ends
from prefork.serve.exchange import Exchange, Phase
from prefork.serve.forwarded import find_ends, find_nonsense
from prefork.serve.http import HttpConnection
from prefork.serve.reader import RequestReader
from prefork.serve.refusal import Refusal
from prefork.serve.request_ids import IdMaker, settle_id
from prefork.serve.seldom import Seldom
from prefork.serve.service import IN_FLIGHT
from prefork.serve.settings import ServeSettings
from prefork.serve.trust import TrustedPeers
from prefork.serve.vocabulary import Vocabulary
from prefork.serve.whole_request import Block, Fields

if TYPE_CHECKING:
    from prefork.serve.access_log import AccessLog
    from prefork.serve.http_service import HttpService

logger = logging.getLogger("prefork.worker")

ABORTED, CLOSED, KEPT = "X", "-", "+"
"""How a request ended, as the access log has it."""
BUSY_EVERY_S = 10.0
"""At most one line about refused requests in so long a time."""
NONSENSE_EVERY_S = 60.0
"""At most one line about what a trusted proxy says in so long a time: it says it of every request."""
SHOWN_CHARS = 64
_RETRY = b"Retry-After: 1\r\n"
_NO_LIMIT = 1 << 62


class Attendant:
    """One for each service."""

    def __init__(self, service: HttpService) -> None:
        settings = service.settings
        self.service = service
        self.access_log: AccessLog | None = None
        self.ids = IdMaker() if settings.request_id else None
        self.limit = settings.limit_concurrency or _NO_LIMIT
        self.attends_connections = bool(settings.limit_concurrency)
        """Whether connections need more than another reader."""
        self.believed = frozenset(name.encode("ascii") for name in settings.forwarded_headers)
        self.peers = TrustedPeers(settings.forwarded_allow_ips)
        self._vocabulary: Vocabulary | None = None
        self._busy = Seldom(BUSY_EVERY_S)
        self._nonsense = Seldom(NONSENSE_EVERY_S)

    def log_to(self, log: AccessLog) -> None:
        """Tell of every request from now on; no connection was ever open."""
        self.access_log = log
        self.attends_connections = True

    def open_connection(self) -> HttpConnection:
        """One that asks before a request is begun and tells when it has ended."""
        made = AttendedConnection if self.service.settings.limit_concurrency else LoggedConnection
        return made(self.service, self)

    # Heads.

    def reads_for(self, connection: HttpConnection) -> bool:
        """Whether requests of this connection have to be looked at when their head is complete."""
        return self.access_log is not None or self.ids is not None or self.trusts(connection)

    def trusts(self, connection: HttpConnection) -> bool:
        """Whether its peer may speak for others, and of something that we believe."""
        client = connection.client
        return bool(self.believed) and self.peers.trusts(client[0] if client is not None else None)

    def make_reader(self, connection: HttpConnection) -> RequestReader:
        """The one that looks."""
        if not self.trusts(connection):
            return AttendedReader(connection, self.service.vocabulary, self.service.settings, self)
        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self.believed)
        return ForwardedReader(connection, self._vocabulary, self.service.settings, self)

    # The limit.

    def refuse(self, exchange: Exchange) -> None:
        """There are enough requests already: this one is answered by us."""
        exchange.answer_itself(503, _RETRY)
        if times := self._busy.count(self.service.clock.now):
            logger.warning(
                "requests refused: limit-concurrency", extra={"refused": times, "limit": self.limit}
            )

    # Forwarded fields.

    def note_nonsense(self, own: Ends, name: bytes, value: bytes) -> None:
        """A proxy that is trusted says what cannot be believed: the request is served by what is known without it."""
        if times := self._nonsense.count(self.service.clock.now):
            logger.warning(
                "a trusted proxy says what means nothing, not believed",
                extra={
                    "field": name.decode("ascii"),
                    "value": value.decode("latin-1")[-SHOWN_CHARS:],
                    "proxy": own.client[0] if own.client is not None else "unix",
                    "times": times,
                },
            )


class BusyExchange(Exchange):
    """A request that finds enough others in flight: the app never hears of it."""

    __slots__ = ("_attendant",)

    def __init__(self, connection: HttpConnection, attendant: Attendant) -> None:
        super().__init__(connection, connection.service.clock, connection.transport.write)
        self._attendant = attendant

    def begin(self) -> None:
        self._attendant.refuse(self)

    def take_body(self, data: bytes) -> None:
        del data
        if self.phase is Phase.DONE:
            self.connection.drop_body(self, self.body_read_bytes)

    def end_body(self) -> None:
        if self.phase is Phase.DONE:
            self.connection.end_dropped_body(self)

    def tell_ends(self, ends: Ends | None) -> None:
        self.ends = ends

    def lose(self) -> None:
        pass  # there is nobody to tell

    hang_up = resume_writing = lose


class AttendedReader(RequestReader):
    """Looks at a request when its head is complete."""

    __slots__ = ("_attendant", "_ids", "_timer")

    def __init__(
        self,
        connection: HttpConnection,
        vocabulary: Vocabulary,
        settings: ServeSettings,
        attendant: Attendant,
    ) -> None:
        self._attendant = attendant
        self._ids = attendant.ids
        self._timer = attendant.access_log.timer if attendant.access_log is not None else None
        super().__init__(connection, vocabulary, settings)
        if self._timer is not None or self._ids is not None:
            self._attend = self._attend_to

    def on_headers_complete(self) -> None:
        url, headers = self._url, self._headers
        try:
            RequestReader.on_headers_complete(self)  # super() would look that up for every request
        except Refusal:
            self._url, self._headers = url, headers  # for `tell_partial`
            raise

    def _attend_to(self, exchange: Exchange) -> None:
        if self._timer is not None:
            exchange.started_s = self._timer()
        if self._ids is not None:
            exchange.block = None  # which does not know of it
            exchange.request_id = settle_id(exchange.headers, self._ids)


class ForwardedReader(AttendedReader):
    """Believes what the connection's peer says of whom it speaks for."""

    __slots__ = ("_last", "_own", "_said", "_take_head")

    def __init__(
        self,
        connection: HttpConnection,
        vocabulary: Vocabulary,
        settings: ServeSettings,
        attendant: Attendant,
    ) -> None:
        self._said: dict[bytes, bytes] | None = None
        self._last: tuple[dict[bytes, bytes], bytes, Ends] | None = None
        """What the last one said, its Host, and what that means: proxies keep connections, clients speak again."""
        self._own = Ends(connection.client, connection.server, connection.scheme)
        super().__init__(connection, vocabulary, settings, attendant)
        # A local client is a trusted peer too, mostly one that forwards nothing: no call more than it takes.
        is_plain = self._timer is None and self._ids is None
        self._take_head = (RequestReader if is_plain else AttendedReader).on_headers_complete

    def _note(self, lower: bytes, value: bytes) -> None:
        if lower not in self._attendant.believed:
            super()._note(lower, value)
            return
        said = self._said
        if said is None:
            said = self._said = {}
        said[lower] = said[lower] + b"," + value if lower in said else value

    def on_headers_complete(self) -> None:
        host = self._host
        self._take_head(self)
        exchange = self.exchange
        assert exchange is not None  # a head that is not refused has one  # noqa: S101
        said = self._said
        if said is None:
            if exchange.ends is not None:
                exchange.tell_ends(None)
            return
        self._said = None
        ends = self._find_ends(said, host or b"")
        if exchange.ends is not ends:
            exchange.tell_ends(ends)
        if ends.host:
            _replace_host(exchange.headers, ends.host)

    def _settle_block(self, block: Block) -> None:
        if block.said:
            ends = block.ends = self._find_ends(block.said, block.host)
            if ends.host:
                _replace_host(block.fields, ends.host)

    def _find_ends(self, said: dict[bytes, bytes], host: bytes) -> Ends:
        last = self._last
        if last is None or last[0] != said or last[1] != host:
            ends = find_ends(self._own, said, host, self._attendant.peers.trusts)
            last = self._last = said, host, ends
            nonsense = find_nonsense(self._own, said, ends)
            if nonsense is not None:
                self._attendant.note_nonsense(self._own, nonsense, said[nonsense])
        return last[2]


def _replace_host(headers: Fields, host: bytes) -> None:
    headers[:] = [(b"host", host), *(field for field in headers if field[0] != b"host")]


class AttendedConnection(HttpConnection):
    """Asks before a request is begun, tells when it has ended."""

    __slots__ = ("_attendant", "_broken", "_cells", "_limit", "_log", "_own_ends")

    _own_ends: Ends

    def __init__(self, service: HttpService, attendant: Attendant) -> None:
        super().__init__(service)
        self._attendant = attendant
        self._limit = attendant.limit
        self._cells = service.cells
        self._log = attendant.access_log
        self._broken: Exchange | None = None
        """The one that a refusal answers, if it had begun."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._own_ends = Ends(self.client, self.server, self.scheme)

    def admit(self) -> Exchange:
        in_flight = self._cells[IN_FLIGHT]
        if in_flight >= self._limit:
            # Those before it on this connection are answered before it, not beside it.
            own = len(self._queue) + (self.exchange is not None and not self.dropping)
            if in_flight - own >= self._limit:
                exchange = BusyExchange(self, self._attendant)
                self._cells[IN_FLIGHT] += 1
                exchange.began_ns = stopwatch_ns()
                return exchange
        return HttpConnection.admit(self)

    def finish(self, exchange: Exchange) -> None:
        log = self._log
        if log is not None:  # as `_note`, which would be three more calls for every request
            block = exchange.block
            log.noted.append(
                (
                    exchange.method,
                    exchange.target,
                    exchange.version,
                    exchange.headers if block is None else block.by_name or block.name_fields(),
                    exchange.request_id,
                    exchange.ends or self._own_ends,
                    exchange._head,  # noqa: SLF001  # one piece, in two classes
                    exchange._length - max(0, exchange._left),  # noqa: SLF001  # as `tell_sent`
                    0.0 if log.timer is None else log.timer() - exchange.started_s,
                    CLOSED if exchange.closing else KEPT,
                )
            )
            if not log.is_due:
                log.fall_due()
        HttpConnection.finish(self, exchange)

    def leave(self) -> bytes:
        if self.exchange is not None:  # answered, with a 101
            self._note(self.exchange, KEPT)
        return super().leave()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self.exchange
        if exchange is not None and not self.dropping:
            self._note(exchange, ABORTED)
        super().connection_lost(exc)

    def _break_off(self, exchange: Exchange) -> None:
        if exchange.phase is Phase.BODY and not self.dropping:
            self._note(exchange, ABORTED)
        self._broken = exchange
        super()._break_off(exchange)

    def _write_refusal(self, answer: bytes) -> None:
        super()._write_refusal(answer)
        broken, last = self._broken, self.reader.exchange
        if broken is None and last is not None and not last.body_complete:
            broken = last
        if broken is not None:
            self._note(broken, CLOSED, answer)
        elif self._log is not None:
            head, _, body = answer.partition(b"\r\n\r\n")
            method, url, fields = self.reader.tell_partial()
            path, _, query = url.partition(b"?")
            target = "", "", path, query
            self._log.note((method, target, "", fields, b"", self._own_ends, head, len(body), 0.0, CLOSED))

    def _note(self, exchange: Exchange, ended: str, refusal: bytes = b"") -> None:
        log = self._log
        if log is None:
            return
        head, size = exchange.tell_sent()
        if refusal:
            head, _, body = refusal.partition(b"\r\n\r\n")
            size = len(body)
        log.note(
            (
                exchange.method,
                exchange.target,
                exchange.version,
                exchange.headers,
                exchange.request_id,
                exchange.ends or self._own_ends,
                head,
                size,
                log.measure(exchange.started_s),
                ended,
            )
        )


class LoggedConnection(AttendedConnection):
    """Where there is no limit, nobody need be asked."""

    __slots__ = ()

    admit = HttpConnection.admit
