"""Which connection has waited too long? Asked for each at every tick of its service.

It arms no timers and reads no clock: `now` comes in, in seconds of the loop's clock. It must never end a connection
whose client has already sent what we wait for and the loop has not read yet (see `ends.has_unread`).
"""

from __future__ import annotations

from prefork.serve.ends import has_unread
from prefork.serve.exchange import Exchange, Phase
from prefork.serve.http import HttpConnection

BODY_STALL_S = 60.0
"""How long a client may send nothing of a body it owes, as long as the response has not begun."""
LINGER_S = 2.0
"""How long a half-closed connection waits for the client's end of file."""


def check_deadlines(connection: HttpConnection, now: float) -> None:
    """End the connection, or refuse its request, if it has waited too long."""
    waited = now - connection.since
    unwritten = connection.transport.get_write_buffer_size()
    if unwritten:
        if unwritten != connection.unwritten_bytes:
            connection.since = now
        elif waited > connection.service.stall_s:
            connection.cut()
        connection.unwritten_bytes = unwritten
        return
    if connection.lingering:
        if waited > LINGER_S:
            connection.transport.abort()
        return
    exchange = connection.exchange
    if exchange is not None:
        _check_body(connection, exchange, now)
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


def _check_body(connection: HttpConnection, exchange: Exchange, now: float) -> None:
    # `headers` is a new list for each request, the exchange may be the same.
    if exchange.headers is not connection.watched or exchange.body_read_bytes != connection.watched_bytes:
        connection.watched = exchange.headers
        connection.watched_bytes = exchange.body_read_bytes
        connection.since = now
    elif exchange.body_complete or connection.reading_paused or exchange.expects_continue:
        connection.since = now  # it is not the client that we wait for
    elif connection.dropping and now - connection.since > LINGER_S:
        connection.end(linger=False)
    elif (
        exchange.phase is not Phase.BODY
        and now - connection.since > BODY_STALL_S
        and not has_unread(connection.transport)
    ):
        connection.refuse(408)
