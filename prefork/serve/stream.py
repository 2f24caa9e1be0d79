"""Serve an `async def handler(reader, writer)`: any TCP protocol, one task per connection.

As `asyncio.start_server` does, with three differences: a handler that returns or raises never leaves its
connection open, a peer that reads nothing cannot hold a closing connection for ever, and each connection
starts from the same `contextvars` as every other. Knows no protocol: it never reads or writes a byte itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from prefork.serve.service import CONNECTIONS, IN_FLIGHT, REQUESTS, Cells, Counters
from prefork.serve.settings import ServeSettings

if TYPE_CHECKING:
    from prefork.serve.access_log import AccessLog

StreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]

READ_LIMIT_BYTES = 65536
"""A reader holds at most twice as much before the client is stalled; also the longest line of `readline()`."""

logger = logging.getLogger("prefork.worker")


class StreamService:
    """The `Service` of a stream handler. A connection ends when its handler does; `drain` only waits for that."""

    __slots__ = ("_app", "_context", "_idle", "_loop", "_open", "counters", "flush_stall_s")

    def __init__(
        self,
        app: StreamHandler,
        settings: ServeSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        del settings  # HTTP's; a stream handler has its own deadlines
        self._app = app
        self._context = contextvars.copy_context()
        self._loop = loop
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.counters = Counters()
        self.flush_stall_s = 30.0
        """A connection whose handler has ended is aborted when its peer takes no byte for so long."""

    async def start_up(self) -> None:
        """Nothing: a handler has no startup."""

    def count_in(self, cells: Cells) -> None:
        self.counters = Counters(cells)

    def log_access(self, log: AccessLog) -> None:
        pass  # there are no requests here

    def open_connection(self) -> asyncio.BaseProtocol:
        reader = asyncio.StreamReader(READ_LIMIT_BYTES, self._loop)
        lost = self._loop.create_future()
        return _Connection(reader, partial(self._start, lost), self._loop, self, lost)

    def drain(self) -> None:
        """Nothing to say to a protocol that we do not know: handlers go on until they end."""

    def hear_by(self, catch_up: Callable[[], None]) -> None:
        pass  # nothing is promised to a client here

    def ask_to_leave(self, count: int) -> int:  # noqa: ARG002  # there is nothing that one could say
        return 0

    async def wait_drained(self) -> None:
        await self._idle.wait()

    def cut(self) -> int:
        lost = len(self._open)
        for task, writer in tuple(self._open.items()):
            writer.transport.abort()
            task.cancel()
        return lost

    async def shut_down(self) -> None:
        """Nothing: a handler has no shutdown."""

    def note_made(self) -> None:
        """A connection of ours is open."""
        self.counters.cells[CONNECTIONS] += 1
        self._idle.clear()

    def note_lost(self) -> None:
        """A connection of ours is gone; its handler may still be cleaning up."""
        self.counters.cells[CONNECTIONS] -= 1
        self._settle()

    def _start(
        self, lost: asyncio.Future[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # A copy of the service's own context, not of the caller's: what one handler sets, no other sees.
        task = self._context.copy().run(self._loop.create_task, self._serve(reader, writer, lost))
        self._open[task] = writer
        self.counters.cells[IN_FLIGHT] += 1
        # Not in _serve's own finally: a task cancelled before its first step never enters it.
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        self.counters.cells[IN_FLIGHT] -= 1
        self.counters.cells[REQUESTS] += 1
        self._settle()

    def _settle(self) -> None:
        if not self._open and not self.counters.connections:
            self._idle.set()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Future[None]
    ) -> None:
        try:
            await self._app(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        except GeneratorExit:  # the loop was closed under us: there is nothing left to close with
            raise
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            if lost.done() or reader.at_eof():  # the client left; no fault of the handler's
                logger.debug("client left early error=%r", error)
            else:
                self._log_fault(error, writer)
        # SystemExit too: one connection must never end the worker.
        except BaseException as error:  # noqa: BLE001
            self._log_fault(error, writer)
        writer.close()
        await self._flush(writer, lost)

    def _log_fault(self, error: BaseException, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or "-"
        theirs = error.with_traceback(
            error.__traceback__ and error.__traceback__.tb_next
        )  # not our own frame
        logger.error("connection handler raised error=%r peer=%s", error, peer, exc_info=theirs)

    async def _flush(self, writer: asyncio.StreamWriter, lost: asyncio.Future[None]) -> None:
        """Wait until what was written has left; give up when nothing moves."""
        left = writer.transport.get_write_buffer_size()
        while not lost.done():
            await asyncio.wait((lost,), timeout=self.flush_stall_s)
            before, left = left, writer.transport.get_write_buffer_size()
            if left >= before and not lost.done():
                writer.transport.abort()


class _Connection(asyncio.StreamReaderProtocol):
    """asyncio's own adapter, which says when its connection comes and goes."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        # Not a method of ours: a cycle through the protocol would keep every closed connection until the next gc.
        connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
        loop: asyncio.AbstractEventLoop,
        service: StreamService,
        lost: asyncio.Future[None],
    ) -> None:
        super().__init__(reader, connected, loop)
        self._service = service
        self._lost = lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._service.note_made()
        super().connection_made(transport)

    def eof_received(self) -> bool:
        super().eof_received()
        return True  # over TLS too a client may end its side and wait for the answer

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self._lost.done():
            self._lost.set_result(None)
        self._service.note_lost()
