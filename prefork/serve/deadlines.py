"""Which connection has waited too long? Asked for each at every tick of its service.

It arms no timers and reads no clock: `now` comes in, in seconds of the loop's clock. It must never end a connection
whose client has already sent what we wait for and the loop has not read yet (see `ends.has_unread`).

A client that owes us a body, or that we owe a response, has an allowance of patience. Waiting spends it, bytes earn it
back at the minimum rate, up to a bound: so a drip of bytes is as silent as none, and a pause in a fast transfer costs
nothing. Only time in which it is the client's turn counts.
"""

from __future__ import annotations

import logging
import math

from prefork.serve.ends import count_taken, has_unread
from prefork.serve.exchange import Exchange, Phase
from prefork.serve.http import HttpConnection

logger = logging.getLogger("prefork.worker")

BODY_STALL_S = 60.0
"""How long a client may send nothing of a body it owes, as long as the response has not begun; the most patience."""
BODY_GRACE_S = 10.0
"""The patience that it begins with, if there is a minimum rate."""
TAKING_BYTES_PER_S = 240
"""The slowest that a client may take a response, for longer than the service's `stall_s`."""
LINGER_S = 2.0
"""How long a half-closed connection waits for the client's end of file."""
LONGEST_LOOK_S = 1.0
"""A look later than this was late because of us: the time in between is not all the client's."""


class Watch:
    """What the last look saw of a connection in the middle of something."""

    __slots__ = (
        "body_bytes",
        "is_taking",
        "looked_at",
        "ours_since",
        "patience_s",
        "request",
        "since",
        "slow_at",
        "taken_bytes",
        "unwritten",
    )

    def __init__(self, now: float) -> None:
        self.looked_at = now
        self.request: object = None
        """The headers of the request being answered: a new list for each, the exchange may be the same."""
        self.since = now
        """When it was first seen."""
        self.ours_since = now
        """Since when it is not the client that everybody waits for; kept by whoever judges slow requests."""
        self.slow_at = math.inf
        """When to ask whether it hangs."""
        self.body_bytes = 0
        self.is_taking = False
        """Bytes waited to be written; `taken_bytes` and `unwritten` are of then."""
        self.taken_bytes: int | None = None
        self.unwritten = 0
        self.patience_s = 0.0


def check_deadlines(connection: HttpConnection, now: float) -> None:
    """End the connection, or refuse its request, if it has waited too long."""
    exchange = connection.exchange
    unwritten = connection.transport.get_write_buffer_size()
    if exchange is None and not unwritten:
        _check_idle(connection, now)
        return
    watch = connection.watch
    if watch is None:
        watch = connection.watch = Watch(now)
    waited_s = min(now - watch.looked_at, LONGEST_LOOK_S)
    watch.looked_at = now
    if exchange is not None:
        if exchange.headers is not watch.request:
            _see_request(connection, watch, exchange)
            waited_s = 0.0
        timeout_s = connection.service.settings.request_timeout_s
        if 0 < timeout_s < now - watch.since and not connection.dropping:
            _give_up(connection, exchange, now - watch.since)
            return
        if now >= watch.slow_at:
            watch.slow_at = connection.service.judge_slow(exchange, watch, now)
    if unwritten:
        connection.since = now
        _check_taking(connection, watch, unwritten, waited_s)
        return
    if watch.is_taking:
        watch.is_taking = False
        watch.patience_s = BODY_STALL_S
    if exchange is not None:
        connection.since = now
        _check_body(connection, watch, exchange, waited_s)


def _check_idle(connection: HttpConnection, now: float) -> None:
    waited = now - connection.since
    if connection.watch is not None:
        connection.watch.is_taking = False
    if connection.lingering:
        if waited > LINGER_S:
            connection.transport.abort()
        return
    if connection.has_queued() or connection.transport.is_closing():
        return
    settings = connection.service.settings
    if connection.reader.in_head:
        if 0 < settings.header_timeout_s < waited and not has_unread(connection.transport):
            connection.refuse(408)
    elif connection.served:
        if waited > settings.keep_alive_s and not has_unread(connection.transport):
            connection.transport.close()
    elif now > connection.service.find_fresh_deadline(connection.since) and not has_unread(
        connection.transport
    ):
        connection.transport.close()


def _see_request(connection: HttpConnection, watch: Watch, exchange: Exchange) -> None:
    watch.request = exchange.headers
    watch.since = watch.ours_since = watch.looked_at
    watch.body_bytes = 0
    watch.is_taking = False
    # It was there before it was seen: from half the time on, whoever judges knows better.
    watch.slow_at = watch.since + (connection.service.settings.slow_s / 2 or math.inf)
    watch.patience_s = BODY_STALL_S
    if connection.service.settings.min_body_rate_bytes:
        watch.patience_s = min(BODY_STALL_S, BODY_GRACE_S)


def _give_up(connection: HttpConnection, exchange: Exchange, after_s: float) -> None:
    if not exchange.body_complete:  # the client's doing, and not worth a line
        connection.give_up(exchange, 408)
        return
    logger.warning(
        "request timed out method=%s path=%r after_s=%.1f", exchange.method, exchange.target[0], after_s
    )
    connection.give_up(exchange, 504)


def _check_taking(connection: HttpConnection, watch: Watch, unwritten: int, waited_s: float) -> None:
    most_s = connection.service.stall_s
    taken = count_taken(connection.transport)
    if not watch.is_taking:
        watch.is_taking = True
        watch.patience_s = most_s
    else:
        if taken is not None and watch.taken_bytes is not None:
            moved = taken - watch.taken_bytes
        elif unwritten > watch.unwritten:
            moved = TAKING_BYTES_PER_S << 20  # there was room for more
        else:
            moved = watch.unwritten - unwritten
        watch.patience_s = min(most_s, watch.patience_s + moved / TAKING_BYTES_PER_S) - waited_s
        if watch.patience_s < 0:
            connection.cut()
    watch.taken_bytes = taken
    watch.unwritten = unwritten


def _check_body(connection: HttpConnection, watch: Watch, exchange: Exchange, waited_s: float) -> None:
    moved = exchange.body_read_bytes - watch.body_bytes
    watch.body_bytes = exchange.body_read_bytes
    if exchange.body_complete or connection.reading_paused or exchange.expects_continue:
        return  # it is not the client that we wait for
    most_s = LINGER_S if connection.dropping else BODY_STALL_S
    rate = connection.service.settings.min_body_rate_bytes
    earned_s = moved / rate if rate else most_s * bool(moved)
    watch.patience_s = min(most_s, watch.patience_s + earned_s) - waited_s
    if watch.patience_s >= 0 or has_unread(connection.transport):
        return
    if connection.dropping:
        connection.end(linger=False)
    elif exchange.phase is not Phase.BODY:
        connection.refuse(408)
