"""One WebSocket as its ASGI app sees it: the scope, `receive` and `send`, and what becomes of an app that fails.

Until the app accepts it is an exchange of its HTTP connection like any other: its turn comes in order, a denial is a
response, a failure a 500. `websocket.accept` writes the 101, ends the HTTP side of the connection for good and gives
the transport to a `WebSocketConnection`; from then on this object stands between that and the app.

It must never lose what the client sent: frames that come behind the handshake are kept until the app accepts, and
`websocket.disconnect` is the last message, after every other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from websockets.frames import Opcode

from prefork.serve.asgi_exchange import ASGI_VERSIONS
from prefork.serve.exchange import ClientDisconnectedError, Exchange, Phase
from prefork.serve.http import HttpConnection
from prefork.serve.response import HAS_DATE, HAS_SERVER, render_fields
from prefork.serve.websocket import FAILED, GONE, Stage, WebSocketConnection
from prefork.serve.websocket_opening import Opening, select_fields

if TYPE_CHECKING:
    from types import FrameType

    from prefork.serve.asgi import AsgiService

logger = logging.getLogger("prefork.worker")

_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"

UNRECEIVED_HIGH_BYTES = 65536
"""What the app has not received: past this the client is stopped."""
MESSAGE_BYTES = 200
"""What a message costs beside its payload."""
NORMAL = 1000
UPGRADE_LINE = b"Connection: Upgrade\r\n"

Message = MutableMapping[str, Any]


class WebSocketExchange(Exchange):
    """From the handshake to the return of the app."""

    __slots__ = (
        "_early",
        "_ending",
        "_has_closed",
        "_opening",
        "_service",
        "_socket",
        "_told",
        "_unreceived",
        "_unreceived_bytes",
        "_waiters",
        "client",
        "is_full",
    )

    def __init__(self, connection: HttpConnection, service: AsgiService, asked: Exchange) -> None:
        super().__init__(connection, service.clock, connection.transport.write)
        self._service = service
        self._opening = Opening(asked, service.settings)
        self.client = connection.client
        self.method, self.target, self.headers = asked.method, asked.target, asked.headers
        self.ends, self.request_id, self.started_s = asked.ends, asked.request_id, asked.started_s
        self.began_ns = asked.began_ns
        self.keep_alive = False  # whoever was refused asks again on another connection
        # The body of a refused request is not read, so the end of its connection is a lingering one.
        self.body_complete = not self._opening.has_body
        self._early = bytearray()
        """What the client sent behind its handshake."""
        self._socket: WebSocketConnection | None = None
        self._unreceived: list[Message] = [{"type": "websocket.connect"}]
        self._unreceived_bytes = 0
        self.is_full = False
        """No more shall be taken from the client before the app has received what there is."""
        self._waiters: list[asyncio.Future[None]] = []
        self._ending: tuple[int, str] | None = None
        """Code and reason of the disconnect."""
        self._has_closed = False
        """It was the app that closed."""
        self._told = False
        """The app has received the disconnect."""

    # From the HTTP connection.

    def keep(self, data: bytes) -> None:
        """Take what the client sends behind its handshake, which the app has not answered yet."""
        self._early += data
        if len(self._early) > UNRECEIVED_HIGH_BYTES:
            self.connection.pause_reading()

    def begin(self) -> None:
        refusal = self._opening.refusal
        if refusal is not None:
            self._service.note_bad_input(self, refusal, b"")
            self._set_head(refusal.status, self._opening.list_fields())
            if refusal.status == 426:
                self._head += UPGRADE_LINE  # whoever names protocols says so (RFC 9110 §7.8)
            self._put(str(refusal).encode(), last=True)
            return
        if self.connection.is_hung_up():  # while it waited for its turn
            self.hang_up()
        stepper = self._service.stepper
        # Nobody answers a WebSocket in one step: a plain task.
        stepper.keep(self._service.loop.create_task(self._run(self._make_scope())))

    def lose(self) -> None:
        self.end(GONE, "")

    def find_stack(self) -> list[FrameType]:
        from prefork.serve.stacks import find_coroutine_stack  # noqa: PLC0415  # when the first request is slow

        return find_coroutine_stack(self._service.stepper.tasks, WebSocketExchange._run.__code__, self)

    def hang_up(self) -> None:
        self.end(GONE, "")  # half of a WebSocket is none

    def resume_writing(self) -> None:
        pass  # senders wait at the gate

    # From the socket.

    def take_text(self, text: str, size: int) -> None:
        """A message of text whose payload had `size` bytes."""
        self._take({"type": "websocket.receive", "text": text}, size)

    def take_bytes(self, data: bytes) -> None:
        """A binary message."""
        self._take({"type": "websocket.receive", "bytes": data}, len(data))

    def end(self, code: int, reason: str) -> None:
        """Nothing more will come. Only the first time counts."""
        if self._ending is None:
            self._ending = (int(code), reason)  # the package's is an enum member
            self._wake()

    def is_waiting(self) -> bool:
        """Has the app received everything, and does it wait for more?"""
        return bool(self._waiters) and not self._unreceived

    def _take(self, message: Message, size: int) -> None:
        if self._has_closed:
            return
        self._unreceived.append(message)
        self._unreceived_bytes += size + MESSAGE_BYTES
        self.is_full = self._unreceived_bytes > UNRECEIVED_HIGH_BYTES
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # The app's call.

    def _make_scope(self) -> Message:
        service = self._service
        connection = self.connection
        ends = self.ends or connection
        path, _, raw_path, query_string = self.target
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        if connection.scheme == "https":
            from prefork.serve.tls_facts import describe_for_asgi  # noqa: PLC0415  # only with TLS

            extensions |= describe_for_asgi(connection.transport)
        return {
            "type": "websocket",
            "asgi": ASGI_VERSIONS.copy(),
            "http_version": "1.1",
            "scheme": "wss" if ends.scheme == "https" else "ws",
            "server": ends.server,
            "client": ends.client,
            "root_path": service.root_path,
            "path": service.root_path + path,
            "raw_path": service.raw_root_path + raw_path,
            "query_string": query_string,
            "headers": self.headers,
            "subprotocols": list(self._opening.subprotocols),
            "state": service.state.copy(),
            "extensions": extensions,
        }

    async def _run(self, scope: Message) -> None:
        try:
            await self._service.app(scope, self.receive, self.send)
        except GeneratorExit as exc:
            if not self._service.loop.is_running():
                raise  # the loop is gone; there is nobody to close for
            self._fail(exc)
        except BaseException as exc:  # noqa: BLE001 - also SystemExit: an app ends its socket, never its worker
            self._fail(exc)
        else:
            if self._socket is not None:
                self._leave(NORMAL)
            elif self.phase is not Phase.DONE:
                self._fail(None)
        # An app that kept `receive` or `send` must not keep the rest; and the socket holds us, while it says goodbye.
        self._unreceived = []
        self._socket = None
        self.end(GONE, "")

    def _leave(self, code: int) -> None:
        self._stop_receiving()
        if self._socket is not None:
            self._socket.leave(code, "")
            self._socket.resume()

    def _fail(self, exc: BaseException | None) -> None:
        path = self.target[0]
        if exc is None:
            if self._ending is None:
                logger.error("the app returned without answering a WebSocket path=%r", path)
        elif not self._is_disconnect(exc):
            logger.error("the app raised on a WebSocket path=%r", path, exc_info=exc)
        if self._socket is not None:
            self._leave(FAILED)
        else:
            self.answer_failure()

    def _is_disconnect(self, exc: BaseException) -> bool:
        """Is it only the news that the client is gone, on its way out of the app? That is nobody's fault."""
        if self._ending is None and not self._is_leaving():
            return False
        if isinstance(exc, asyncio.CancelledError):
            return True  # the worker ends
        if isinstance(exc.__cause__ or exc.__context__ or exc, ClientDisconnectedError):
            return True
        # Frameworks raise what `receive` said as an exception of their own, with the same two facts.
        told = (getattr(exc, "code", None), getattr(exc, "reason", "") or "")
        return self._told and told == self._ending

    def _is_leaving(self) -> bool:
        socket = self._socket
        return socket is not None and socket.stage is not Stage.OPEN

    async def receive(self) -> Message:
        """`websocket.connect`, then each message of the client's, then `websocket.disconnect`; suspends until then."""
        while not self._unreceived:
            if self._ending is not None:
                self._told = True
                code, reason = self._ending
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            waiter = self._service.loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except BaseException:  # an app may give up waiting again and again
                with suppress(ValueError):
                    self._waiters.remove(waiter)
                raise
        message = self._unreceived.pop(0)
        if not self._unreceived:
            self._unreceived_bytes = 0
            if self.is_full:
                self.is_full = False
                if self._socket is not None:
                    self._socket.resume()
        return message

    async def send(self, message: Message) -> None:
        """Accept, deny, send or close. Suspends while the client is slow.

        Raises `ClientDisconnectedError` (an OSError) once the client is gone or was told to go, ValueError or
        TypeError for what must not reach the wire, RuntimeError for a message out of turn.
        """
        kind = message["type"]
        socket = self._socket
        if socket is not None and socket.stage is Stage.OPEN and self._ending is None:
            if kind == "websocket.send":
                data = message.get("bytes")
                if data is None:
                    socket.put(Opcode.TEXT, message["text"].encode())
                else:
                    socket.put(Opcode.BINARY, data if type(data) is bytes else _copy(data))
                if socket.gate.is_shut:
                    await socket.gate.wait_open()
                    if socket.is_lost():
                        raise self.client_gone()
            elif kind == "websocket.close":
                code = message.get("code")
                socket.close(NORMAL if code is None else code, message.get("reason") or "")
                self._stop_receiving()
                socket.resume()
            else:
                raise RuntimeError(f"unexpected ASGI message {kind!r}: the WebSocket is open")
        elif self._has_closed:
            raise RuntimeError(f"unexpected ASGI message {kind!r}: the WebSocket was closed by the app")
        elif self._ending is not None or self.gone or socket is not None:
            raise self.client_gone()
        else:
            await self._send_answer(kind, message)

    def _stop_receiving(self) -> None:
        """The app has said its last word: whatever comes is dropped, but for the client's Close."""
        self._has_closed = True
        self._unreceived.clear()
        self.is_full = False

    # The answer to the handshake.

    async def _send_answer(self, kind: str, message: Message) -> None:
        phase = self.phase
        if kind == "websocket.accept" and phase is Phase.AWAITED:
            self._accept(message)
        elif kind == "websocket.close" and phase is Phase.AWAITED:
            self._set_head(403, ((b"Content-Type", b"text/plain; charset=utf-8"),))
            self._put(b"Forbidden", last=True)
        elif kind == "websocket.http.response.start" and phase is Phase.AWAITED:
            status = message["status"]
            self._set_head(status, message.get("headers", ()))
            self._service.loop.call_soon(self._put_late_head)
        elif kind == "websocket.http.response.body" and phase is not Phase.AWAITED:
            await self._send_body(message.get("body", b""), last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}: the handshake is {phase.name.lower()}")

    def _accept(self, message: Message) -> None:
        service = self._service
        connection = self.connection
        subprotocol = message.get("subprotocol")
        answer = self._opening.render_answer(subprotocol)
        fields = select_fields(message.get("headers", ()), subprotocol)
        head, _, flags = render_fields(_SWITCHING, fields, {})
        if self.request_id and b"\r\nx-request-id:" not in head.lower():
            head += b"X-Request-ID: %b\r\n" % self.request_id
        self._head, self._length = head, 0
        socket = WebSocketConnection(self, self._opening.wire, connection, service.open_group())
        self.phase = Phase.DONE
        clock = self.clock
        date = b"" if flags & HAS_DATE else clock.date_line
        server = b"" if flags & HAS_SERVER else clock.server_line
        self.emit(b"%b%b%b%b\r\n" % (head, answer, date, server))
        self._socket = socket
        early = bytes(self._early) + connection.leave()
        self._early.clear()
        socket.take_over(early)
        del self.connection, self._opening, self.emit  # they end here, and many sockets are open for long

    def _set_head(self, status: int, fields: Any) -> None:
        self.set_head(self._service.heads.render(status, fields))

    async def _send_body(self, body: bytes, *, last: bool) -> None:
        self._put(body, last=last)
        gate = self.connection.gate
        if gate.is_shut and not last:
            await gate.wait_open()
            if self.gone:
                raise self.client_gone()

    def _put(self, body: bytes, *, last: bool) -> None:
        try:
            self.put(body, last=last)
        except ValueError:
            if self.phase is not Phase.HEAD:
                self.connection.cut()  # what is on the wire cannot be made true any more
            raise
        if last:
            self._has_closed = True
            self.end(GONE, "")
            self.connection.finish(self)

    def _put_late_head(self) -> None:
        if self.phase is Phase.HEAD and not self.gone:
            self.put_head()


def _copy(data: object) -> bytes:
    if not isinstance(data, bytearray | memoryview):
        raise TypeError(f"a binary message is made of bytes, not of {type(data).__name__}")
    return bytes(data)
