"""One client connection speaking HTTP/1.1: bytes in, one exchange after the other, bytes out.

It owns the order of things: requests are answered one at a time in the order they came, reading pauses when
several wait, a malformed byte is answered after the answers already owed and ends the parsing for good. It never
calls the app (the exchange does), never parses (the reader does) and arms no timers: at the service's tick `deadlines`
looks at it.

Draining closes nothing by itself. A connection that is fresh or idle keeps its normal time to speak; the response
it then gets says `Connection: close`. How it ends, whenever that is: see `http_ending`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import httptools

from prefork.serve.clock import stopwatch_ns
from prefork.serve.ends import name_ends
from prefork.serve.exchange import Exchange
from prefork.serve.http_ending import MOST_QUEUED, EndingConnection
from prefork.serve.refusal import Refusal, judge_malformed
from prefork.serve.service import IN_FLIGHT
from prefork.serve.whole_reader import PIECE_BYTES, Feed, discard

logger = logging.getLogger("prefork.worker")

DRAIN_BYTES = 65536
"""How much of a body that the app left unread is read to keep the connection."""
_STOPS = (httptools.HttpParserError, httptools.HttpParserUpgrade, Refusal)


class HttpConnection(EndingConnection):
    """The protocol object of one accepted socket."""

    __slots__ = ()

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
            if reader.left_to_parser:
                reader.left_to_parser -= 1
            elif (exchange := reader.take_whole(data)) is not None:
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
        elif self.exchange is None and not data.lstrip(b"\r\n") and self._feed is not discard:
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
        self._feed = discard
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
        if self.spare is not None:
            self.spare.dismantle()
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
        if self._feed is discard:
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
        if self._feed is not discard:
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

    def leave(self) -> bytes:
        """Give the transport up to another protocol; return what was read and not parsed."""
        self._feed = discard
        self.exchange = self.spare = None
        self.reader.close()
        self.service.release(self)
        return self._unparsed

    def is_hung_up(self) -> bool:
        """Whether the client has ended its side: gone, or only done with asking."""
        return self._eof

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
                if self._feed is discard:
                    return
            if reader.in_head:
                self._watch_head(len(piece))

    def _stop_parsing(self, stop: Exception, data: bytes) -> None:
        if self._feed is discard:
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
        self._feed = discard
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
