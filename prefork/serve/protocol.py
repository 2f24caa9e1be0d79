"""Serve a factory of `asyncio.Protocol` (or `BufferedProtocol`) objects.

The app's object is handed to the transport as it is, so its `data_received` costs what it costs under plain asyncio:
only `connection_made` and `connection_lost` are wrapped, on the instance. An object that takes no attributes
gets a stand-in whose methods are the object's own bound methods. A factory that raises costs its own connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from prefork.serve.service import CONNECTIONS, IN_FLIGHT, REQUESTS, Cells, Counters
from prefork.serve.settings import ServeSettings

if TYPE_CHECKING:
    from prefork.serve.access_log import AccessLog

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Made = Callable[[asyncio.Transport], None]
Lost = Callable[[Exception | None], None]

SWEEP_EVERY_S = 0.1
SWEEP_FROM = 64

logger = logging.getLogger("prefork.worker")


class ProtocolService:
    """The `Service` of a protocol factory. `drain` waits: only the protocols know when they have said everything."""

    __slots__ = ("_app", "_idle", "_open", "_sweep_at", "counters")

    def __init__(
        self,
        app: ProtocolFactory,
        settings: ServeSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        del settings, loop  # HTTP's; a protocol is driven by its transport
        self._app = app
        self._open: set[_Watch] = set()
        self._sweep_at = SWEEP_FROM
        self._idle = asyncio.Event()
        self._idle.set()
        self.counters = Counters()

    async def start_up(self) -> None:
        """Nothing: a protocol has no startup."""

    def count_in(self, cells: Cells) -> None:
        self.counters = Counters(cells)

    def log_access(self, log: AccessLog) -> None:
        pass  # there are no requests here

    def open_connection(self) -> asyncio.BaseProtocol:
        try:
            protocol = self._app()
        # SystemExit too: one connection must never end the worker.
        except BaseException as error:  # noqa: BLE001
            _log_fault("protocol factory", error)
            return _Refusal()
        if not isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol):
            logger.error("protocol factory made no asyncio.Protocol made=%s", type(protocol).__name__)
            return _Refusal()
        return _watch(protocol, self)

    def drain(self) -> None:
        """Nothing to say to a protocol that we do not know: connections go on until they are closed."""

    def hear_by(self, catch_up: Callable[[], None]) -> None:
        pass  # nothing is promised to a client here

    def ask_to_leave(self, count: int) -> int:  # noqa: ARG002  # there is nothing that one could say
        return 0

    async def wait_drained(self) -> None:
        while self._open:
            self._sweep()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._idle.wait(), SWEEP_EVERY_S)

    def cut(self) -> int:
        lost = len(self._open)
        for watch in tuple(self._open):
            watch.transport.abort()
        return lost

    async def shut_down(self) -> None:
        """Nothing: a protocol has no shutdown."""

    def note_made(self, watch: _Watch) -> None:
        """A connection is open, or has a new transport (TLS was started on it)."""
        if len(self._open) >= self._sweep_at:
            self._sweep()
            self._sweep_at = max(SWEEP_FROM, 2 * len(self._open))
        self._open.add(watch)
        self._idle.clear()
        self._count()

    def note_lost(self, watch: _Watch) -> None:
        """A connection is gone. May be said twice."""
        if watch in self._open:
            self._open.remove(watch)
            self.counters.cells[REQUESTS] += 1
            self._count()
            if not self._open:
                self._idle.set()

    def _count(self) -> None:
        cells = self.counters.cells
        cells[CONNECTIONS] = cells[IN_FLIGHT] = len(self._open)

    def _sweep(self) -> None:
        """Find connections that ended behind our back: after `transport.set_protocol(other)` the loss is told to
        the other protocol only. asyncio and uvloop both forget a transport's protocol when it is lost.
        """
        for watch in tuple(self._open):
            if watch.transport.get_protocol() is None:
                self.note_lost(watch)


class _Watch:
    """Tells the service when one connection comes and goes, around the app's own two methods."""

    __slots__ = ("_attributes", "_service", "lost", "made", "transport")

    def __init__(self, made: Made, lost: Lost, service: ProtocolService) -> None:
        self.made = made
        self.lost = lost
        self.transport: asyncio.Transport
        self._attributes: dict[str, object] = {}
        self._service = service

    def wrap(self, attributes: dict[str, object]) -> None:
        """Stand before the two methods of an instance, until its connection is lost."""
        self._attributes = attributes
        attributes["connection_made"] = self.connection_made
        attributes["connection_lost"] = self.connection_lost

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._service.note_made(self)
        try:
            self.made(transport)
        # Left to the loop it would be logged, and the connection stay open with nobody behind it.
        except BaseException as error:  # noqa: BLE001
            _log_fault("connection_made", error)
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        try:
            self.lost(error)
        finally:
            # The instance as it was: no cycle keeps it until the next gc, and its factory may return it again.
            for name in ("connection_made", "connection_lost"):
                self._attributes.pop(name, None)
            self._service.note_lost(self)


def _watch(
    protocol: asyncio.Protocol | asyncio.BufferedProtocol, service: ProtocolService
) -> asyncio.BaseProtocol:
    attributes: dict[str, object] | None = getattr(protocol, "__dict__", None)
    other = getattr(attributes and attributes.get("connection_made"), "__self__", None)
    if attributes is not None and not isinstance(other, _Watch):
        _Watch(protocol.connection_made, protocol.connection_lost, service).wrap(attributes)
        return protocol
    # No attributes to set, or one object for many connections, which is watched already.
    methods = other if isinstance(other, _Watch) else None
    made = methods.made if methods else protocol.connection_made
    lost = methods.lost if methods else protocol.connection_lost
    stand_in = _BufferedStandIn() if isinstance(protocol, asyncio.BufferedProtocol) else _StandIn()
    for name in type(stand_in).__slots__:
        setattr(stand_in, name, getattr(protocol, name))
    watch = _Watch(made, lost, service)
    for name, method in (
        ("connection_made", watch.connection_made),
        ("connection_lost", watch.connection_lost),
    ):
        setattr(stand_in, name, method)
    return stand_in


_SHARED_METHODS = ("connection_lost", "connection_made", "eof_received", "pause_writing", "resume_writing")


class _StandIn(asyncio.Protocol):
    """A protocol whose methods are another's bound methods: a call through it costs no second call."""

    __slots__ = (*_SHARED_METHODS, "data_received")


class _BufferedStandIn(asyncio.BufferedProtocol):
    """The same for what receives into its own buffer; asyncio asks for the class."""

    __slots__ = (*_SHARED_METHODS, "buffer_updated", "get_buffer")


class _Refusal(asyncio.Protocol):
    """In place of a protocol that could not be made."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _log_fault(what: str, error: BaseException) -> None:
    own_frames_cut = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    logger.error("%s raised error=%r", what, error, exc_info=own_frames_cut)
