"""What a worker asks of the app's side, whatever the interface: one `Service` per worker.

The worker accepts sockets and hands each to `loop.connect_accepted_socket(service.open_connection, sock)`.
It never looks inside a connection. Drain is the service's job: it answers what is in flight, whatever arrives on
connections that are open, and closes them when they have nothing more to say.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Counters:
    """What the service counts for the scoreboard. Written by the connections, read by the worker's beat."""

    __slots__ = ("connections", "in_flight", "requests")

    def __init__(self) -> None:
        self.connections = 0
        """Open now."""
        self.in_flight = 0
        """Requests between their head and the end of their response (stream, protocol: same as connections)."""
        self.requests = 0
        """Answered since the start (stream, protocol: connections closed)."""


class Service(Protocol):
    """One worker's app, ready to be connected to sockets. All methods run on the worker's loop thread."""

    counters: Counters

    async def start_up(self) -> None:
        """ASGI lifespan startup; nothing for the others. Raises `errors.AppError` when the app refuses."""

    def open_connection(self) -> asyncio.BaseProtocol:
        """The protocol factory: a new protocol object for one accepted socket."""

    def drain(self) -> None:
        """From now on every response says `Connection: close`; fresh and idle connections keep their normal
        keep-alive time to speak, and are answered if they do. May be called twice.
        """

    async def wait_drained(self) -> None:
        """Return when no connection is open and no call of the app's runs: a background task may outlive its
        response. The caller holds the deadline and may cancel.
        """

    def cut(self) -> int:
        """Abort every open connection at once; return how many requests in flight were lost."""

    async def shut_down(self) -> None:
        """ASGI lifespan shutdown, thread pool down. Never raises: what the app raises is logged."""
