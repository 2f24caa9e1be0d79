"""One client connection speaking HTTP/1.1: bytes in, one exchange after the other, bytes out, and how it ends.

It owns the order of things: requests are answered one at a time in the order they came, reading pauses when
several wait, a malformed byte is answered after the answers already owed and ends the parsing for good. It never
calls the app (the exchange does), never parses (llhttp does) and arms no timers: at the service's tick `deadlines`
looks at it.

Draining closes nothing by itself. A connection that is fresh or idle keeps its normal time to speak; the response
it then gets says `Connection: close`. A close that could meet unread input is a lingering one: half-close, then
read until the client's end of file, so that no reset overtakes the response (RFC 9112 §9.6).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from prefork.serve.clock import stopwatch_ns
from prefork.serve.ends import Client, Server, name_ends
from prefork.serve.exchange import Exchange, Phase
from prefork.serve.reader import RequestReader
from prefork.serve.refusal import Refusal, judge_malformed
from prefork.serve.response import render_refusal
from prefork.serve.service import IN_FLIGHT
from prefork.serve.whole_reader import PIECE_BYTES, Feed
from prefork.serve.write_gate import WriteGate

if TYPE_CHECKING:
    from prefork.serve.deadlines import Watch
    from prefork.serve.http_service import HttpService

logger = logging.getLogger("prefork.worker")

MOST_QUEUED = 16
"""Pipelined requests parsed ahead of the one being answered."""
DRAIN_BYTES = 65536
"""How much of a body that the app left unread is read to keep the connection."""
_STOPS = (httptools.HttpParserError, httptools.HttpParserUpgrade, Refusal)


class HttpConnection(asyncio.Protocol):
    """The protocol object of one accepted socket."""

    __slots__ = (
        "_eof",
        "_feed",
        "_queue",
        "_refusal",
        "_unparsed",
        "client",
        "dropping",
        "exchange",
        "gate",
        "is_timed",
        "leaves",
        "lingering",
        "loop",
        "reader",
        "reading_paused",
        "scheme",
        "served",
        "server",
        "service",
        "since",
        "spare",
        "transport",
        "watch",
    )

    transport: asyncio.Transport
    reader: RequestReader

    def __init__(self, service: HttpService) -> None:
        self.service = service
        self.loop = service.loop
        self.client: Client = None
        self.server: Server = None
        self.scheme = "http"
        self.exchange: Exchange | None = None
        """The one being answered, until its response and its request's body are complete."""
        self.spare: Exchange | None = None
        """One that may be used again."""
        self.gate = WriteGate(service.loop)
        self.since = service.clock.now
        """Since when it waits for whatever it waits for; `deadlines` judges it."""
        self.served = False
        """It has had a response."""
        self.is_timed = service.tally.open()
        self.leaves = False
        """It was asked to, by the worker: see `leaving`."""
        self.lingering = False
        """Half-closed, waiting for the client's end of file."""
        self.dropping = False
        """The response is complete, the request's body is not."""
        self.reading_paused = False
        self.watch: Watch | None = None
        """What `deadlines` saw at its last look, if it had a reason to look closely."""
        self._queue: deque[Exchange] = deque()
        self._feed: Feed = _discard
        self._eof = False
        self._refusal: int | None = None
        self._unparsed = b""

    # The transport's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        transport.set_write_buffer_limits(high=self.service.write_high_bytes)
        self.client, self.server = name_ends(transport)
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        self.reader = self.service.make_reader(self)
        self._feed = self.reader.feed
        self.service.open(self)

    def data_received(self, data: bytes) -> None:
        self.service.tally.bytes_in += len(data)
        reader = self.reader
        if (
            self.exchange is None
            and self._feed is reader.feed
            and not self._queue
            and not reader.in_head
            and not self.gate.is_shut
        ):
            exchange = reader.take_whole(data)
            if exchange is not None:
                self.exchange = exchange
                exchange.begin()
                return
        if len(data) > PIECE_BYTES:
            self._feed_in_pieces(data)
        else:
            reader.data = data
            try:
                self._feed(data)
            except _STOPS as stop:
                self._stop_parsing(stop, data)
            if reader.in_head:
                self._watch_head(len(data))
        queue = self._queue
        if queue:
            if self.exchange is None and not self.gate.is_shut:
                exchange = self.exchange = queue.popleft()
                exchange.begin()
            if queue:
                self._answer_queued()
                if len(queue) > MOST_QUEUED:
                    self.pause_reading()
        elif self.exchange is None and not data.lstrip(b"\r\n") and self._feed is not _discard:
            self._watch_head(len(data))

    def eof_received(self) -> bool:
        self._eof = True
        exchange = self.exchange
        if self.lingering or exchange is None or not exchange.body_complete:
            return False
        # The client may have closed, or only finished asking: what was asked is answered all the same.
        exchange.hang_up()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the end is the end
        self._feed = _discard
        service = self.service
        service.cells[IN_FLIGHT] -= len(self._queue)
        self._queue.clear()
        exchange = self.exchange
        if exchange is not None:
            self.exchange = None
            if not self.dropping:
                service.cells[IN_FLIGHT] -= 1
            exchange.gone = True
            exchange.lose()
        self.gate.open()
        # Break the ring connection → reader → parser → reader: the collector may be off.
        self.spare = None
        self.reader.close()
        service.close(self)

    def pause_writing(self) -> None:
        self.gate.shut()

    def resume_writing(self) -> None:
        self.gate.open()
        exchange = self.exchange
        if exchange is not None:
            exchange.resume_writing()
        elif self._queue:
            self._go_on()

    # For the reader and the exchanges.

    def admit(self) -> Exchange:
        """Count a request in whose head is complete; the reader fills in the exchange returned."""
        if self._feed is _discard:
            raise Refusal(400, "the connection ended with a request before, in the same read")
        exchange = self.spare
        if exchange is None:
            exchange = self.service.make_exchange(self)
        else:
            self.spare = None
        self.service.cells[IN_FLIGHT] += 1
        if self.is_timed:
            exchange.began_ns = stopwatch_ns()
        return exchange

    def enqueue(self) -> Exchange:
        """Count a request in that is answered when its turn comes."""
        exchange = self.admit()
        self._queue.append(exchange)
        return exchange

    def feed_through(self, feed: Feed) -> None:
        """Give `feed` what comes next, unless nothing more may be parsed."""
        if self._feed is not _discard:
            self._feed = feed

    def may_keep_alive(self, exchange: Exchange) -> bool:
        """Whether the response whose head is being written may promise another one after it."""
        if exchange.expects_continue and not exchange.body_complete:
            return False  # whether the body comes is the client's guess; closing is the only safe reading
        service = self.service
        if not service.keeps_alive:
            return False
        if service.leaving.left and not service.leaving.may_stay(self, exchange):
            return False
        # A request that has already come is answered, also while draining: the last of them says close.
        return not service.draining or bool(self._queue)

    def finish(self, exchange: Exchange) -> None:
        """The exchange's response is complete: count it, and go on or close."""
        service = self.service
        service.cells[IN_FLIGHT] -= 1
        tally, head = service.tally, exchange._head  # noqa: SLF001  # one piece, in two classes
        tally.statuses[head[9]] += 1
        if self.is_timed:
            tally.latency[(stopwatch_ns() - exchange.began_ns).bit_length()] += 1
        tally.bytes_out += len(head) + exchange._length  # noqa: SLF001  # as above
        self.served = True
        self.since = service.clock.now
        if exchange.closing:
            self.exchange = None
            linger = not exchange.body_complete or service.draining or self.leaves or bool(self._queue)
            self.end(linger=linger)
        elif exchange.body_complete:
            self.exchange = None
            if self._queue or self._refusal is not None or self._eof or self.reading_paused:
                self.loop.call_soon(self._go_on, context=self.service.context)
        else:
            self._unread_allowed(exchange)

    def cut(self) -> None:
        """Abort: the client sees a reset, never an ending that looks right."""
        self._feed = _discard
        self.transport.abort()

    def leave(self) -> bytes:
        """Give the transport up to another protocol; return what was read and not parsed."""
        self._feed = _discard
        self.exchange = self.spare = None
        self.reader.close()
        self.service.release(self)
        return self._unparsed

    def is_hung_up(self) -> bool:
        """Whether the client has ended its side: gone, or only done with asking."""
        return self._eof

    def pause_reading(self) -> None:
        """Stop the client; the kernel's buffer is the only one that grows."""
        if not self.reading_paused and not self._eof:
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`, unless requests still wait."""
        if self.reading_paused and len(self._queue) <= MOST_QUEUED and not self._unparsed:
            self.reading_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    # Requests in order.

    def _answer_queued(self) -> None:
        queue = self._queue
        while queue and self.exchange is None and not self.gate.is_shut:
            exchange = queue.popleft()
            self.exchange = exchange
            exchange.begin()

    def _go_on(self) -> None:
        """After a response: the next request, the rest of what was read, or the end that was waiting for it."""
        self._answer_queued()
        if self._queue or self.transport.is_closing() or self.lingering:
            return
        exchange = self.exchange
        if self._unparsed and (exchange is None or not exchange.body_complete):
            data, self._unparsed = self._unparsed, b""
            self.service.tally.bytes_in -= len(data)  # it was counted when it came
            # Which may have found the next request, the rest of this one, or the end.
            self.data_received(data)
            exchange = self.exchange
        if exchange is not None and not exchange.body_complete and self._eof and not self._unparsed:
            self.transport.close()  # the client ended its side amid the request whose turn has come
        if self._is_quiet():
            if self._refusal is not None:
                self._send_refusal()
            elif self._eof:
                self.end(linger=False)
            else:
                self.resume_reading()

    def has_queued(self) -> bool:
        """Whether a request waits for its turn."""
        return bool(self._queue)

    def _is_quiet(self) -> bool:
        return self.exchange is None and not self._queue

    def _unread_allowed(self, exchange: Exchange) -> None:
        """The response is complete, the request is not: read on for a bounded while, or close."""
        self.dropping = True
        left = exchange.body_length_bytes - exchange.body_read_bytes
        if left > DRAIN_BYTES:
            self.exchange = None
            self.end(linger=True)
        else:
            self.resume_reading()

    def drop_body(self, exchange: Exchange, read_bytes: int) -> None:
        """A body goes on after its response: take it within bounds."""
        if read_bytes > DRAIN_BYTES and self.dropping and self.exchange is exchange:
            self.exchange = None
            self.end(linger=True)

    def end_dropped_body(self, exchange: Exchange) -> None:
        """The body that nobody read is over: the connection is free for the next request."""
        if self.dropping and self.exchange is exchange:
            self.dropping = False
            self.exchange = None
            self.since = self.service.clock.now
            if self._queue or self._refusal is not None or self._eof or self.reading_paused:
                self.loop.call_soon(self._go_on, context=self.service.context)

    # Reading.

    def _feed_in_pieces(self, data: bytes) -> None:
        # A buffer full of tiny requests would become thousands of exchanges at once: look after each piece.
        reader = self.reader
        for at in range(0, len(data), PIECE_BYTES):
            if len(self._queue) > MOST_QUEUED:
                self._unparsed = data[at:]
                self.pause_reading()
                return
            piece = reader.data = data[at : at + PIECE_BYTES]
            try:
                self._feed(piece)
            except _STOPS as stop:
                self._stop_parsing(stop, piece)
                if self._feed is _discard:
                    return
            if reader.in_head:
                self._watch_head(len(piece))

    def _stop_parsing(self, stop: Exception, data: bytes) -> None:
        if self._feed is _discard:
            return  # it ended inside a callback of the parser
        reader = self.reader
        if isinstance(stop, httptools.HttpParserUpgrade):
            rest = reader.data = data[stop.args[0] :]
            granted = self.service.grant_upgrade(self, self._queue[-1])
            if granted is not None:
                self._queue[-1] = granted
                self._feed = granted.keep
                granted.keep(rest)
                return
            self._feed = reader.resume_after_upgrade()
            if rest:
                try:
                    self._feed(rest)
                except _STOPS as again:
                    self._stop_parsing(again, rest)
            return
        refusal = stop if isinstance(stop, Refusal) else reader.refusal
        last = reader.exchange
        self._feed = _discard
        if refusal is None and last is not None and last.body_complete and not last.keep_alive:
            return  # bytes after a request that said close: never read (RFC 9112 §9.6)
        if refusal is not None:
            self.service.note_bad_input(self, refusal, data)
            self.refuse(refusal.status)
        elif isinstance(stop, httptools.HttpParserCallbackError):
            logger.error(
                "a request could not be taken in", exc_info=stop
            )  # a full disk, or a mistake of ours
            self.refuse(500)
        else:
            self.service.note_bad_input(self, stop, data)
            self.refuse(judge_malformed(stop, data))

    def refuse(self, status: int) -> None:
        """Answer `status` and close, after the answers already owed; parse nothing more."""
        self._feed = _discard
        self._refusal = status
        self.reader.in_head = False
        broken = self.reader.exchange
        if broken is not None and not broken.body_complete:
            if broken in self._queue:
                self._queue.remove(broken)
                self.service.cells[IN_FLIGHT] -= 1
            elif broken is self.exchange:
                self._break_off(broken)
                return
        if self.exchange is None and not self._queue:
            self._send_refusal()

    def _break_off(self, exchange: Exchange) -> None:
        """The body of the request being answered turned out malformed."""
        phase = exchange.phase
        exchange.gone = True
        self.exchange = None
        if self.dropping:
            self.end(linger=True)
            return
        self.service.cells[IN_FLIGHT] -= 1
        exchange.lose()
        if phase is Phase.AWAITED or phase is Phase.HEAD:
            self._send_refusal(exchange.method)
        else:
            self.cut()

    def give_up(self, exchange: Exchange, status: int) -> None:
        """The request being answered has taken too long: say `status` while that can be said, else cut."""
        self._feed = _discard
        self._refusal = status
        exchange.abandon()
        self._break_off(exchange)

    def _send_refusal(self, method: str = "") -> None:
        status = self._refusal
        if status is not None and not self.transport.is_closing():
            with_body = (method or self.reader.parse_method()) != "HEAD"
            answer = render_refusal(status, self.service.clock, with_body=with_body)
            self.service.tally.count_refusal(answer)
            self._write_refusal(answer)
            self.end(linger=True)

    def _write_refusal(self, answer: bytes) -> None:
        self.transport.write(answer)

    def _watch_head(self, grown_bytes: int) -> None:
        reader = self.reader
        try:
            if not reader.in_head:
                reader.check_empty_lines(grown_bytes)
                return
            if reader.head_size_bytes == 0:
                self.since = self.service.clock.now
            reader.check_partial_head(grown_bytes)
        except Refusal as refusal:
            self.service.note_bad_input(self, refusal, b"")
            self.refuse(refusal.status)

    # The end.

    def end(self, *, linger: bool) -> None:
        self._feed = _discard
        self._unparsed = b""
        self.service.cells[IN_FLIGHT] -= len(self._queue)
        self._queue.clear()
        self.since = self.service.clock.now
        transport = self.transport
        if transport.is_closing():
            return
        if linger and not self._eof and transport.can_write_eof():
            self.lingering = True
            try:
                transport.write_eof()
            except OSError:  # ENOTCONN, from asyncio's transport: a reset has come that is not read yet
                transport.abort()
            self.resume_reading()
        else:
            transport.close()


def _discard(data: bytes) -> None:
    """Stands in for the parser once nothing more may be parsed."""
