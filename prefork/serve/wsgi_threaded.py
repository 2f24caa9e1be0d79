"""A WSGI call on a thread of the pool; its bytes go out on the loop's thread.

The thread frames and hands over; the loop writes. A thread that is ahead of its client by more than a bound waits
for it, and is woken with an error when the client is gone. Of the exchange's fields the thread owns those of the
response until its last word, the loop all others; what they share is behind one condition.
"""

from __future__ import annotations

import threading
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from prefork.serve.environ import FileWrapper
from prefork.serve.exchange import Phase
from prefork.serve.file_body import FileBody, FilePart, find_part
from prefork.serve.http import HttpConnection
from prefork.serve.thread_pool import ThreadPool
from prefork.serve.wsgi_exchange import WsgiExchange, close_result

if TYPE_CHECKING:
    from types import FrameType

    from prefork.serve.wsgi import WsgiService

AHEAD_BYTES = 262144
"""How much a thread may have handed over that the transport has not taken."""

_AWAITED, _DONE = Phase.AWAITED, Phase.DONE


class ThreadedExchange(WsgiExchange):
    """One request; never used again, because its thread may still be closing when the next one comes."""

    __slots__ = ("_ahead_bytes", "_change", "_file_failure", "_flush_due", "_outbox", "_pool", "_said_all")

    def __init__(self, connection: HttpConnection, service: WsgiService, pool: ThreadPool) -> None:
        super().__init__(connection, service)
        self._pool = pool
        self._change = threading.Condition(threading.Lock())
        self._outbox: deque[bytes | FileBody] = deque()
        self._ahead_bytes = 0
        self._flush_due = False
        self._said_all = False
        self._file_failure: OSError | None = None

    # On the loop's thread.

    def call(self) -> None:
        self.service.running += 1
        self.emit = self._hand_over
        context = copy_context()
        self._pool.submit(lambda: context.run(self._call_app))

    def lose(self) -> None:
        with self._change:
            self._outbox.clear()
            self._ahead_bytes = 0
            self._change.notify_all()

    def find_stack(self) -> list[FrameType]:
        from prefork.serve.stacks import find_thread_stack  # noqa: PLC0415  # when the first request is slow

        return find_thread_stack(ThreadedExchange._call_app.__code__, self)

    def resume_writing(self) -> None:
        # Not at once: transports of TLS call this from within our own calls, and the lock is held then.
        self.service.loop.call_soon(self._flush, context=self.service.context)

    def _flush(self) -> None:
        connection = self.connection
        with self._change:
            self._flush_due = False
            outbox = self._outbox
            while outbox and not connection.gate.is_shut and not self.gone:
                data = outbox[0]
                if isinstance(data, FileBody):
                    if not self._push_file(data):
                        break
                else:
                    self._ahead_bytes -= len(data)
                    connection.transport.write(data)
                outbox.popleft()
            if self._ahead_bytes <= AHEAD_BYTES // 2:
                self._change.notify_all()
            finished = self._said_all and not outbox and not self.gone
            if finished:
                self._said_all = False
        if finished:
            connection.finish(self)

    def _push_file(self, file: FileBody) -> bool:
        """Whether the file is done with; its thread learns of a failure."""
        try:
            if not file.send_some():
                if not self.connection.gate.is_shut:
                    self._flush_due = True
                    self.service.loop.call_soon(self._flush)
                return False
        except OSError as failure:
            self._file_failure = failure
        self._change.notify_all()
        return True

    def _say_all(self) -> None:
        with self._change:
            self._said_all = True
        self._flush()

    def _give_up(self) -> None:
        self.emit = self.connection.transport.write
        self.answer_failure()

    # On the pool's thread.

    def _call_app(self) -> None:
        result: Any = None
        call_soon = self.service.loop.call_soon_threadsafe
        try:
            try:
                if self.gone:
                    return
                result = self.service.app(self.make_environ(), self.start_response)
                self._put_result(result)
                call_soon(self._say_all)
            except BaseException as exc:  # noqa: BLE001 - also SystemExit: an app ends its request, not its worker
                self.log_failure(exc)
                call_soon(self._give_up)
            finally:
                close_result(result)
                self.close_input()
                call_soon(self.service.end_call)
        except RuntimeError:
            pass  # the loop is closed: the worker has ended without us

    def _put_result(self, result: Any) -> None:
        if (
            type(result) is list
            and len(result) == 1
            and self.phase is not _AWAITED
            and type(result[0]) is bytes
        ):
            self.put(result[0], last=True)
            return
        if type(result) is FileWrapper:
            part = None if self.phase is _AWAITED else find_part(result.filelike)
            if part is not None:
                if not self.put_small_file(part):
                    self._send_file(part)
                return
        for chunk in self.iterate(result):
            self.put_chunk(chunk)
        self.put_end()

    def _send_file(self, part: FilePart) -> None:
        """Have the loop send it; wait, so that the app closes the file only then."""
        size = self.begin_file(part.size_bytes)
        connection = self.connection
        file = FileBody(connection.transport, part, size, connection.service.write_high_bytes)
        with self._change:
            self._outbox.append(file)
        self.service.loop.call_soon_threadsafe(self._flush)
        with self._change:
            # No deadline here: as in `_hand_over`.
            while file in self._outbox and not self.gone:
                self._change.wait()
        if self.gone:
            raise self.client_gone()
        if self._file_failure is not None:
            raise self._file_failure
        self.end_file(size)

    def write(self, data: bytes) -> None:
        if self.phase is _DONE:
            raise RuntimeError("write() was called after the response was complete")
        self.put_chunk(data)

    def _hand_over(self, data: bytes) -> None:
        with self._change:
            self._outbox.append(data)
            self._ahead_bytes += len(data)
            is_ahead = self._ahead_bytes > AHEAD_BYTES
            # The last piece is flushed by _say_all, unless we have to wait for room before we come to that.
            flush = not self._flush_due and (is_ahead or self.phase is not _DONE)
            self._flush_due = self._flush_due or flush
        if flush:
            self.service.loop.call_soon_threadsafe(self._flush)
        if is_ahead:
            with self._change:
                # No deadline here: the loop ends a connection whose client takes nothing, which sets `gone`.
                while self._ahead_bytes > AHEAD_BYTES and not self.gone:
                    self._change.wait()
        if self.gone:
            raise self.client_gone()
