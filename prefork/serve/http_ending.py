"""How one client connection ends: refused, cut, closed at once or after a while; and what it keeps until then.

A refusal is the last answer: nothing is parsed behind it. A close that could meet unread input is a lingering one:
half-close, then read until the client's end of file, so that no reset overtakes the response (RFC 9112 §9.6). Never
is a response cut short in a way that looks complete.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from prefork.serve.ends import Client, Server
from prefork.serve.exchange import Exchange, Phase
from prefork.serve.reader import RequestReader
from prefork.serve.response import render_refusal
from prefork.serve.service import IN_FLIGHT
from prefork.serve.whole_reader import Feed, discard
from prefork.serve.write_gate import WriteGate

if TYPE_CHECKING:
    from prefork.serve.deadlines import Watch
    from prefork.serve.http_service import HttpService

MOST_QUEUED = 16
"""Pipelined requests parsed ahead of the one being answered."""


class EndingConnection(asyncio.Protocol):
    """The state of a connection, and the ways out of it."""

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
        self._feed: Feed = discard
        self._eof = False
        self._refusal: int | None = None
        self._unparsed = b""

    def cut(self) -> None:
        """Abort: the client sees a reset, never an ending that looks right."""
        self._feed = discard
        self.transport.abort()

    def refuse(self, status: int) -> None:
        """Answer `status` and close, after the answers already owed; parse nothing more."""
        self._feed = discard
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
        self._feed = discard
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

    def end(self, *, linger: bool) -> None:
        self._feed = discard
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
