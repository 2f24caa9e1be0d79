"""Which WebSocket has waited too long, and which is to be pinged? Asked for each at every tick of its service.

It arms no timers and reads no clock: `now` comes in, in seconds of the loop's clock. It must never end a socket whose
client has already sent what we wait for and we have not read it yet, because the loop stood still or because the app
does not receive (see `ends.has_unread`).
"""

from __future__ import annotations

from prefork.serve.ends import has_unread
from prefork.serve.websocket import FAILED, Stage, WebSocketConnection
from prefork.serve.websocket_frames import PING

CLOSE_S = 10.0
"""How long the client may take to answer a Close, or to take what is still to be sent."""
LINGER_S = 2.0
"""How long a half-closed connection waits for the client's end of file."""


def check_deadlines(socket: WebSocketConnection, now: float) -> None:
    """Ping the client, or end the connection, if it is time."""
    unwritten = socket.transport.get_write_buffer_size()
    if unwritten != socket.unwritten_bytes:
        socket.unwritten_bytes = unwritten
        socket.moved_at = now
    if socket.stage is not Stage.OPEN:
        limit_s = LINGER_S if socket.stage is Stage.LINGERING else CLOSE_S
        if now - max(socket.since, socket.moved_at) > limit_s:
            socket.transport.abort()
    elif unwritten:
        if now - socket.moved_at > socket.group.stall_s:
            socket.transport.abort()
    else:
        _see_to_pings(socket, now)


def _see_to_pings(socket: WebSocketConnection, now: float) -> None:
    group = socket.group
    waited_s = now - socket.since
    if not socket.is_pinged:
        if 0 < group.ping_interval_s <= waited_s:
            socket.is_pinged = True
            socket.has_spoken = False
            socket.since = now
            socket.transport.write(PING)
    elif socket.has_spoken:  # by a pong, or by what would have kept one waiting
        socket.is_pinged = False
        socket.since = now
    elif 0 < group.ping_timeout_s < waited_s and not has_unread(socket.transport):
        socket.fail(FAILED, "keepalive ping timeout")
