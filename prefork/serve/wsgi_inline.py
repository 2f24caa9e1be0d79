"""A WSGI call on the loop's own thread, one chunk of its response at a time.

The app runs inside a context of its own, from its call to its `close()`. Between two chunks the loop gets its turn,
so a chunk is on its way before the next one is asked for (PEP 3333, "Buffering and Streaming"), and above the
transport's high-water mark the next one waits for the client; but once the kernel has all that `Content-Length` says,
the rest of the call holds up no client and needs no turn of its own. What `write()` is given past that mark goes to a
spool, because a call that cannot be suspended cannot be held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import Context, copy_context
from sys import getrefcount
from typing import IO, TYPE_CHECKING, Any

from prefork.serve.environ import FileWrapper
from prefork.serve.exchange import Phase
from prefork.serve.file_body import FileBody, find_part
from prefork.serve.http import HttpConnection
from prefork.serve.spool import Spool
from prefork.serve.unkept import UNKEPT
from prefork.serve.wsgi_exchange import WsgiExchange, close_result

if TYPE_CHECKING:
    from prefork.serve.wsgi import WsgiService

TURN_BYTES = 262144
"""How much of a file, or of a spool, goes to the transport in one turn of the loop."""
TURN_CHUNKS = 64
"""How many chunks, if most are empty: an app that has nothing to say yet must not hold everybody up."""

_AWAITED, _HEAD, _BODY, _DONE = Phase.AWAITED, Phase.HEAD, Phase.BODY, Phase.DONE


class InlineExchange(WsgiExchange):
    """One request at a time, in the service's lane."""

    __slots__ = ("_backlog", "_context", "_file", "_iterator", "_result", "_start_response", "_unspooled")

    def __init__(self, connection: HttpConnection, service: WsgiService) -> None:
        super().__init__(connection, service)
        self._start_response = self.start_response
        self._context: Context | None = None
        self._result: Any = None
        self._iterator: Iterator[bytes] | None = None
        self._file: FileBody | None = None
        self._backlog: Spool | None = None
        """What `write()` gave too fast."""
        self._unspooled: IO[bytes] | None = None
        """The same, while it is being read."""

    def begin(self) -> None:
        service = self.service
        if not self.body_complete:
            WsgiExchange.begin(self)
        elif service.lane is None and not service.waiting:
            service.lane = self
            context = self._context = copy_context()
            context.run(self._call_app)
        else:
            service.waiting.append(self)

    call = begin

    def run(self) -> None:
        """Call the app, whose turn it is after others'; the lane is ours until `_end`."""
        if self.gone:  # while it waited
            self._end()
            return
        context = self._context = copy_context()
        context.run(self._call_app)

    def lose(self) -> None:
        iterator, self._iterator = self._iterator, None
        if (iterator is not None or self._file is not None) and self._context is not None:
            self._context.run(self._end)
        self._drop_backlog()

    def dismantle(self) -> None:
        super().dismantle()
        del self._start_response

    def resume_writing(self) -> None:
        if self._backlog is not None:
            self._flush_backlog()
        elif self._iterator is not None or self._file is not None:
            self._next_turn()

    # The app's call.

    def _call_app(self) -> None:
        service = self.service
        try:
            result = service.app(self.make_environ(), self._start_response)
            service.catch_up()
            if type(result) is list or type(result) is tuple:
                body = result[0] if len(result) == 1 else b"".join(result)
                if self.phase is _AWAITED:
                    raise RuntimeError("the app returned before it called start_response")  # noqa: TRY301 - as its own
                if type(body) is not bytes and not isinstance(body, bytes):
                    raise TypeError(f"a WSGI app returns bytes, not {type(body).__name__}")  # noqa: TRY301
                self.put(body, last=True)
            else:
                self._result = result
                if type(result) is FileWrapper:
                    self._take_file(result)
                else:
                    self._iterator = iter(result)
        except BaseException as exc:  # noqa: BLE001 - also SystemExit: an app ends its request, never its worker
            self._fail(exc)
            return
        if self._iterator is not None:
            if self._backlog is None:
                self._pull()
            else:
                self._flush_backlog()
        elif self._file is not None:
            self._push_file()
        else:
            if self._backlog is None:
                self.connection.finish(self)
            else:
                self._flush_backlog()
            self._end()

    def _pull(self) -> None:
        """Ask the app for more, until a chunk is worth a turn of the loop."""
        iterator = self._iterator
        if iterator is None:
            if self._file is not None:
                self._push_file()
            return  # or the client went while the turn was due
        turn_bytes = TURN_BYTES if type(self._result) is FileWrapper else 1
        turn_chunks = TURN_CHUNKS
        try:
            for chunk in iterator:
                self.put_chunk(chunk)
                turn_bytes -= len(chunk)
                turn_chunks -= 1
                if not turn_chunks or (turn_bytes <= 0 and not self._is_sent()):
                    if self._backlog is not None:
                        self._flush_backlog()
                    elif not self.connection.gate.is_shut:
                        self._next_turn()
                    return
            self.put_end()
        except BaseException as exc:  # noqa: BLE001 - also SystemExit: an app ends its request, never its worker
            self._fail(exc)
            return
        self._iterator = None
        self._finish()
        self._end()

    def _is_sent(self) -> bool:
        """Whether the body is complete, and the kernel has all of it: nobody waits for what the app does then."""
        return not self._left and not self.connection.transport.get_write_buffer_size()

    def _take_file(self, result: FileWrapper) -> None:
        """A file that is one for the kernel, too, goes past Python; any other is iterated over."""
        part = None if self.phase is _AWAITED or self._backlog is not None else find_part(result.filelike)
        if part is None:
            self._iterator = self.iterate(result)
        elif not self.put_small_file(part):
            self._file = self.open_file(part)

    def _push_file(self) -> None:
        file = self._file
        if file is None:
            return
        try:
            if not file.send_some():
                if not self.connection.gate.is_shut:
                    self._next_turn()
                return
        except BaseException as exc:  # noqa: BLE001 - the app's file; whatever it is, it ends this request only
            self._fail(exc)
            return
        self._file = None
        self.end_file(file.size_bytes)
        self._finish()
        self._end()

    def _next_turn(self) -> None:
        self.service.loop.call_soon(self._pull, context=self._context)

    def _fail(self, exc: BaseException) -> None:
        self._iterator = None
        self.log_failure(exc)
        self._drop_backlog()
        self.answer_failure()
        self._end()

    def _finish(self) -> None:
        if self._backlog is None:
            self.connection.finish(self)
        else:
            self._flush_backlog()

    def _end(self) -> None:
        """Nothing more is asked of the app: `close()`, and the lane is free."""
        if self._result is not None:
            result, self._result = self._result, None
            self._iterator = None
            self._file = None
            close_result(result)
        if self._spool is not None:
            self.close_input()
        self._context = None
        service = self.service
        service.lane = None
        if service.waiting or service.awaited:
            service.call_next()
        if (
            self.phase is _DONE
            and not self.gone
            and self._backlog is None
            # An app that kept start_response or write must find it dead, not serving somebody else.
            and getrefcount(self._start_response) == UNKEPT
            and getrefcount(self._write) == UNKEPT
        ):
            if getrefcount(self._hints) != UNKEPT:
                self.renew_hints()
            self.recycle()
            self.connection.spare = self

    # write().

    def write(self, data: bytes) -> None:
        if self.gone:
            raise self.client_gone()
        if self._result is not None or self._context is None:
            raise RuntimeError("write() was called after the app returned")
        if self._backlog is None and self.connection.gate.is_shut:
            self._backlog = Spool()
            self.emit = self._backlog.append
        self.put_chunk(data)

    def _flush_backlog(self) -> None:
        """Hand what was spooled to the transport while it takes it; then go on with what comes after."""
        backlog = self._backlog
        if backlog is None:
            return
        if self._unspooled is None:
            self._unspooled = backlog.open()
        connection = self.connection
        while not connection.gate.is_shut:
            data = self._unspooled.read(TURN_BYTES)
            if not data:
                self._drop_backlog()
                if self._iterator is not None:
                    self._next_turn()
                elif self.phase is _DONE:
                    connection.finish(self)
                return
            connection.transport.write(data)

    def _drop_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.close()
            self._backlog = None
            self._unspooled = None
            self.emit = self.connection.transport.write
