"""One ASGI request: the scope, `receive` and `send`, and what becomes of an app that fails.

`send` gives the head to the wire together with the first piece of the body, in one write; an app that suspends
between the two has its head sent when it does. The object, its `receive` and its `send` serve the connection's next
request too, but only if the app has let go of them: who keeps a `send` must never reach another's response.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from sys import getrefcount
from typing import TYPE_CHECKING, Any, cast

from prefork.serve.asgi_extensions import EXTENSIONS, TrailerSection, check_body, send_extension
from prefork.serve.exchange import JOIN_BYTES, ClientDisconnectedError, Exchange, Phase
from prefork.serve.http import HttpConnection
from prefork.serve.response import CONTINUE
from prefork.serve.targets import Target
from prefork.serve.unkept import UNKEPT

if TYPE_CHECKING:
    from types import FrameType

    from prefork.serve.asgi import AsgiService
    from prefork.serve.ends import Ends

logger = logging.getLogger("prefork.worker")

UNREAD_HIGH_BYTES = 65536
"""A body that the app has not read yet: past this the client is stopped."""
SLICE_BYTES = 1 << 20
"""A single message's body is handed over in slices of this, so that a slow client holds one slice in memory."""

_AWAITED, _HEAD, _BODY, _DONE = Phase.AWAITED, Phase.HEAD, Phase.BODY, Phase.DONE
ASGI_VERSIONS = {"version": "3.0", "spec_version": "2.4"}


class AsgiExchange(Exchange):
    """One request at a time, from its head to the return of the app."""

    __slots__ = (
        "_asked_method",
        "_asked_target",
        "_disconnect_told",
        "_first_step",
        "_is_plain",
        "_parts",
        "_receive",
        "_render",
        "_request_told",
        "_scope",
        "_send",
        "_service",
        "_task",
        "_unread_bytes",
        "_waiters",
        "trailers",
    )

    def __init__(self, connection: HttpConnection, service: AsgiService) -> None:
        super().__init__(connection, service.clock, connection.transport.write)
        self._service = service
        self._parts: list[bytes] = []
        self._unread_bytes = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._request_told = False
        self._disconnect_told = False
        self._first_step = False
        self._is_plain = False
        self._task: asyncio.Task[None] | None = None
        self.trailers: TrailerSection | None = None
        """The app has announced trailers."""
        self._receive = self.receive
        self._send = self.send
        self._render = service.heads.render
        self._asked_method = ""
        self._asked_target: Target | None = None
        """What the scope to copy speaks of."""
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": ASGI_VERSIONS,
            "server": connection.server,
            "client": connection.client,
            "scheme": connection.scheme,
            "root_path": service.root_path,
            "extensions": EXTENSIONS.copy(),
            # Of each request; here already, because a dict that is copied whole need not grow.
            "http_version": "1.1",
            "method": "",
            "headers": self.headers,
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "state": service.state,
        }
        if connection.scheme == "https":
            from prefork.serve.tls_facts import describe_for_asgi  # noqa: PLC0415  # only with TLS

            self._scope["extensions"] |= describe_for_asgi(connection.transport)

    # From the connection.

    def begin(self) -> None:
        service = self._service
        template, target, method = self._scope, self.target, self.method
        if self._asked_target is not target or self._asked_method is not method:
            self._asked_target, self._asked_method = target, method
            path, _, raw_path, template["query_string"] = target
            template["method"] = method
            template["path"] = service.root_path + path
            template["raw_path"] = service.raw_root_path + raw_path
        scope = template.copy()
        if self.version != "1.1":
            scope["http_version"] = self.version
        scope["headers"] = self.headers
        # The app owns its scope, and what it does to it is not told to the next request.
        scope["state"] = service.state.copy()
        scope["asgi"] = ASGI_VERSIONS.copy()
        scope["extensions"] = template["extensions"].copy()
        self._first_step = True
        service.stepper.start(self._run_abandonable(scope) if service.abandons else self._run(scope))
        self._first_step = False
        if self.phase is _HEAD:
            self._put_late_head()

    def tell_ends(self, ends: Ends | None) -> None:
        self.ends = ends
        scope, told = self._scope, ends or self.connection
        scope["client"], scope["server"], scope["scheme"] = told.client, told.server, told.scheme

    def take_body(self, data: bytes) -> None:
        if self.phase is _DONE:
            self.connection.drop_body(self, self.body_read_bytes)
            return
        self._parts.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > UNREAD_HIGH_BYTES:
            self.connection.pause_reading()
        self._wake()

    def end_body(self) -> None:
        if self.phase is _DONE:
            self.connection.end_dropped_body(self)
        else:
            self._wake()

    def lose(self) -> None:
        self._wake()

    def abandon(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def find_stack(self) -> list[FrameType]:
        from prefork.serve.stacks import find_coroutine_stack  # noqa: PLC0415  # when the first request is slow

        return find_coroutine_stack(self._service.stepper.tasks, AsgiExchange._run.__code__, self)

    def hang_up(self) -> None:
        self._wake()

    def resume_writing(self) -> None:
        pass  # senders wait at the connection

    def dismantle(self) -> None:
        self.gone = True  # whoever still waits in `receive` finds out
        self._wake()
        del self._receive, self._send, self.connection, self.emit

    def _wake(self) -> None:
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # The app's call.

    async def _run(self, scope: MutableMapping[str, Any]) -> None:
        try:
            await self._service.app(scope, self._receive, self._send)
        except GeneratorExit as exc:
            if not self._service.loop.is_running():
                raise  # the loop is gone; there is nobody to answer
            self._fail(exc)
        except BaseException as exc:  # noqa: BLE001 - also SystemExit: an app ends its request, never its worker
            self._fail(exc)
        else:
            if self.phase is not _DONE and not self.gone:
                self._fail(None)
            # An app that kept receive or send must find them dead, not serving somebody else.
            if (
                getrefcount(self._send) == UNKEPT
                and getrefcount(self._receive) == UNKEPT
                and self.phase is _DONE
                and self.body_complete
                and not self.gone
            ):
                if self.body_read_bytes or self._disconnect_told:
                    self._parts = []
                    self._unread_bytes = 0
                    self._disconnect_told = False
                self.trailers = None
                self._request_told = False
                self.recycle()
                self.connection.spare = self

    async def _run_abandonable(self, scope: MutableMapping[str, Any]) -> None:
        self._task = asyncio.current_task()
        try:
            await self._run(scope)
        finally:
            self._task = None

    def _fail(self, exc: BaseException | None) -> None:
        """The app raised, or returned without a complete response."""
        if isinstance(exc, ClientDisconnectedError) and (self.gone or self._disconnect_told):
            if not self.gone and self.phase is not _DONE:
                self.connection.cut()  # half-closed by the client, given up by the app: nobody else would end it
            return  # what send() raised came back: not the app's fault
        if isinstance(exc, asyncio.CancelledError) and self.gone:
            return  # the worker ends, and has counted this request as cut
        if exc is None:
            logger.error("the app returned without a complete response path=%r", self.target[0])
        else:
            logger.error("the app raised method=%s path=%r", self.method, self.target[0], exc_info=exc)
        self.answer_failure()

    async def receive(self) -> MutableMapping[str, Any]:
        """The next piece of the body (`http.request`), or `http.disconnect`; suspends until there is one."""
        while not self.gone and self.phase is not _DONE:
            if not self._request_told:
                if self._parts or self.body_complete:
                    return self._take_request()
                if self.expects_continue:
                    self.expects_continue = False
                    if self.phase is not _BODY:
                        self.emit(CONTINUE)
            elif self.connection.is_hung_up():
                break
            await self._wait()
        self._disconnect_told = True
        return {"type": "http.disconnect"}

    async def _wait(self) -> None:
        waiter = self._service.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            # Apps that wait with a timeout come again and again.
            if waiter.cancelled() and waiter in self._waiters:
                self._waiters.remove(waiter)

    def _take_request(self) -> MutableMapping[str, Any]:
        parts = self._parts
        body = b""
        if parts:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            self._parts = []
            self._unread_bytes = 0
            self.connection.resume_reading()
        more = not self.body_complete
        self._request_told = not more
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a message of the response. Suspends while the client is slow.

        Raises `ClientDisconnectedError` (an OSError) once the client is gone, ValueError or TypeError for what must
        not reach the wire, RuntimeError for a message out of turn.
        """
        if self.gone or (self._disconnect_told and self.phase is not _DONE):
            raise ClientDisconnectedError("the client is gone")
        kind = message["type"]
        if kind == "http.response.body":
            if self._is_plain and self.phase is _HEAD and not message.get("more_body", False):
                # Nearly every response: its body is whole and as long as it says, and the connection goes on.
                body = message.get("body", b"")
                connection = self.connection
                if len(body) == self._length <= JOIN_BYTES and not connection.service.says_close:
                    data = self._head + self.clock.tail + body  # raises for text, while a 500 can be sent
                    self.phase = _DONE
                    self.emit(data)
                    connection.finish(self)
                    return
            if self.phase is _AWAITED or self.phase is _DONE:
                raise RuntimeError(
                    f"unexpected ASGI message {kind!r}: the response is {self.phase.name.lower()}"
                )
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = check_body(body)
            last = not message.get("more_body", False)
            if last and self.trailers is not None:
                last = self.trailers.end_body(self)
            if len(body) > SLICE_BYTES:
                await self._send_sliced(body, last=last)
                return
            self._put(body, last=last)
            if self.connection.gate.is_shut and not last:
                await self.wait_writable()
        elif kind == "http.response.start":
            if self.phase is not _AWAITED:
                raise RuntimeError(f"unexpected ASGI message {kind!r}: the response has started")
            # As `set_head`, which would be one more call for every request.
            self._head, self._length, flags, is_bodiless = self._render(
                message["status"], message.get("headers", ())
            )
            self._flags = flags
            self._no_body = is_bodiless = is_bodiless or self.method == "HEAD"
            if self.request_id:
                self.add_request_id()
            self.phase = _HEAD
            self._is_plain = (
                not flags
                and not is_bodiless
                and self.keep_alive
                and self.version == "1.1"
                and not self.expects_continue
            )
            if message.get("trailers"):
                self.trailers = TrailerSection()
                self._is_plain = False
            if not self._first_step:
                self._service.loop.call_soon(self._put_late_head)
        else:
            await send_extension(self, kind, message)

    def _put(self, body: bytes, *, last: bool) -> None:
        try:
            self.put(body, last=last)
        except ValueError:
            if self.phase is not _HEAD:
                self.connection.cut()  # what is on the wire cannot be made true any more
            raise
        if last:
            self.connection.finish(self)

    async def _send_sliced(self, body: bytes, *, last: bool) -> None:
        if last:
            self.settle_length(len(body))
        view = memoryview(body)
        for at in range(0, len(view), SLICE_BYTES):
            end = at + SLICE_BYTES
            self._put(cast(bytes, view[at:end]), last=last and end >= len(view))
            if self.connection.gate.is_shut and not (last and end >= len(view)):
                await self.wait_writable()

    async def wait_writable(self) -> None:
        """Return when the client has taken enough. Raises `ClientDisconnectedError`."""
        await self.connection.gate.wait_open()
        if self.gone:
            raise self.client_gone()

    def _put_late_head(self) -> None:
        """The app is taking its time over the body: let the client see the head."""
        if self.phase is _HEAD and not self.gone:
            self.put_head()
