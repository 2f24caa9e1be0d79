"""One WSGI request: the environ, `start_response`, `write`, and what the app's iterable must be.

What inline and threaded calls have in common. It never decides where the app runs or how its bytes get out.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from prefork.serve.environ import Environ, FileWrapper, make_base_environ
from prefork.serve.exchange import ClientDisconnectedError, Exchange, Phase
from prefork.serve.extra_fields import render_text_hints
from prefork.serve.file_body import FileBody, FilePart, clip_blocks, read_part
from prefork.serve.http import HttpConnection
from prefork.serve.response import CONTINUE, NO_LENGTH
from prefork.serve.spool import Spool
from prefork.serve.targets import Target

if TYPE_CHECKING:
    from prefork.serve.ends import Ends
    from prefork.serve.wsgi import WsgiService

logger = logging.getLogger("prefork.worker")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_AWAITED, _HEAD, _BODY, _DONE = Phase.AWAITED, Phase.HEAD, Phase.BODY, Phase.DONE


class WsgiExchange(Exchange):
    """From a complete request to `close()`."""

    __slots__ = (
        "_base",
        "_begun",
        "_early_hints",
        "_hints",
        "_input",
        "_render",
        "_spool",
        "_write",
        "service",
    )

    def __init__(self, connection: HttpConnection, service: WsgiService) -> None:
        super().__init__(connection, service.clock, connection.transport.write)
        self.service = service
        self._base = make_base_environ(connection, connection, service.settings)
        """What is the same for every request, until `tell_ends`."""
        self._begun = False
        self._early_hints = EarlyHints(self)
        self._hints = self._early_hints.send
        self._render = service.heads.render_text
        self._write = self.write
        self._spool: Spool | None = None
        self._input: IO[bytes] | None = None

    # From the connection.

    def begin(self) -> None:
        if self.body_complete:
            self.call()
            return
        self._begun = True
        if self.expects_continue:
            # The server reads for the app, so it is the server that asks for the body (RFC 9110 §10.1.1).
            self.expects_continue = False
            self.emit(CONTINUE)

    def tell_ends(self, ends: Ends | None) -> None:
        self.ends = ends
        self._base = make_base_environ(self.connection, ends or self.connection, self.service.settings)

    def take_body(self, data: bytes) -> None:
        if self.phase is _DONE:
            self.connection.drop_body(self, self.body_read_bytes)
            return
        if self._spool is None:
            self._spool = Spool()
        self._spool.append(data)

    def end_body(self) -> None:
        if self.phase is _DONE:
            self.connection.end_dropped_body(self)
        elif self._begun:
            self._begun = False
            self.call()

    def hang_up(self) -> None:
        pass  # a WSGI app cannot be told; the answer may still be read

    def call(self) -> None:
        """The request is complete: see that the app is called."""
        raise NotImplementedError

    # For the app.

    def make_environ(self) -> Environ:
        """The environ of this request, its input at the beginning."""
        block, method, target = self.block, self.method, self.target
        if block is None:
            environ = self._base.copy()
            self.service.field_keys.add_fields(environ, self.headers)
            self._add_asked(environ, method, target)
        else:  # one dict copied whole costs less than a few fields
            template = block.environ
            if template is None:
                template = block.environ = self._base.copy()
                self.service.field_keys.add_fields(template, self.headers)
            if block.asked_target is not target or block.asked_method is not method:
                self._add_asked(template, method, target)
                block.asked_target, block.asked_method = target, method
            environ = template.copy()
        environ["wsgi.early_hints"] = self._hints
        if self._spool is None:
            environ["wsgi.input"] = io.BytesIO()
        else:
            environ["wsgi.input"] = self._input = self._spool.open()
            environ["CONTENT_LENGTH"] = str(self._spool.size_bytes)
        return environ

    def _add_asked(self, environ: Environ, method: str, target: Target) -> None:
        _, path, _, query = target
        root = self.service.root_path
        if root and path.startswith(root):
            path = path[len(root) :]
        environ["REQUEST_METHOD"] = method
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query.decode("latin-1") if query else ""
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if self.version == "1.1" else "HTTP/1.0"

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Any:
        """PEP 3333's. Raises ValueError or TypeError for what must not reach the wire, RuntimeError out of turn."""
        if exc_info is not None:
            try:
                if self.phase is _BODY or self.phase is _DONE:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no ring of traceback and frame
        elif self.phase is not _AWAITED:
            raise RuntimeError("start_response was called a second time without exc_info")
        # As `set_head`, which would be one more call for every request.
        self._head, self._length, self._flags, is_bodiless = self._render(status, headers)
        self._no_body = is_bodiless or self.method == "HEAD"
        if self.request_id:
            self.add_request_id()
        self.phase = _HEAD
        return self._write

    def dismantle(self) -> None:
        self._early_hints.exchange = None
        del self._write

    def renew_hints(self) -> None:
        """The app has kept `wsgi.early_hints`: it is dead from now on, and the next request has its own."""
        self._early_hints.exchange = None
        self._early_hints = EarlyHints(self)
        self._hints = self._early_hints.send

    def write(self, data: bytes) -> None:
        """PEP 3333's imperative way out."""
        raise NotImplementedError

    def put_chunk(self, chunk: bytes) -> None:
        """One piece of the iterable. Raises when it is not bytes or comes before `start_response`."""
        if self.phase is _AWAITED:
            raise RuntimeError("the app gave a body before it called start_response")
        if type(chunk) is not bytes and not isinstance(chunk, bytes):
            raise TypeError(f"a WSGI app yields bytes, not {type(chunk).__name__}")
        if chunk:
            self.put(chunk, last=False)

    def put_small_file(self, part: FilePart) -> bool:
        """Put a file that is little enough to go with the head, as the whole body; return whether it was."""
        size = self.fits_small(part.size_bytes)
        if size >= 0:
            self.put(read_part(part, size), last=True)
        return size >= 0

    def open_file(self, part: FilePart) -> FileBody:
        """Put what comes before a file, which is then the rest of the body."""
        connection = self.connection
        size = self.begin_file(part.size_bytes)
        return FileBody(connection.transport, part, size, connection.service.write_high_bytes)

    def iterate(self, result: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks of the app's iterable; of a file no more than `Content-Length` says."""
        owed = self.bytes_owed() if type(result) is FileWrapper else NO_LENGTH
        return iter(result) if owed == NO_LENGTH else clip_blocks(result, owed)

    def put_end(self) -> None:
        """The iterable is exhausted. Raises when that leaves the response incomplete."""
        if self.phase is _AWAITED:
            raise RuntimeError("the app's iterable ended before it called start_response")
        self.put(b"", last=True)

    def log_failure(self, exc: BaseException) -> None:
        """The app raised: say so, unless it only passed on that its client is gone."""
        if isinstance(exc, ClientDisconnectedError) and self.gone:
            return
        logger.error("the app raised method=%s path=%r", self.method, self.target[1], exc_info=exc)

    def close_input(self) -> None:
        """The app has ended: its input goes."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None
            self._input = None


class EarlyHints:
    """Of one request, or of several in a row whose apps have let go of it: who keeps it must reach no other one's."""

    __slots__ = ("exchange",)

    def __init__(self, exchange: WsgiExchange) -> None:
        self.exchange: WsgiExchange | None = exchange

    def send(self, fields: Iterable[tuple[str, str]]) -> None:
        """What the app calls as `wsgi.early_hints`: send a 103 (RFC 8297) with these fields, `Link` mostly.

        Nothing happens when it is too late for it: the response has begun, or the request is not HTTP/1.1. Raises
        ValueError or TypeError for what must not reach the wire.
        """
        hints = render_text_hints(fields)
        exchange = self.exchange
        if (
            hints
            and exchange is not None
            and (exchange.phase is _AWAITED or exchange.phase is _HEAD)
            and exchange.version == "1.1"
            and not exchange.gone
        ):
            exchange.emit(hints)


def close_result(result: object) -> None:
    """Call the iterable's `close()`, whatever came before; log what it raises."""
    close = getattr(result, "close", None)
    if close is not None:
        try:
            close()
        except BaseException:  # also SystemExit: an app ends its request, never its worker
            logger.exception("the app's close() raised")
