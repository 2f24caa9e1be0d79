"""One request and its response: what was asked, and how far the answer is on the wire.

The framing lives here, once for every interface: which length or coding the body has, which bodies are not sent,
what the connection does afterwards. A response is exactly as long as it says or it is cut short visibly.

It must never know sockets, tasks or threads: bytes leave through `emit`. One object serves many requests of its
connection, one after the other; the interface's own class (`AsgiExchange`, `WsgiExchange`) says when it is free.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

from prefork.serve.clock import CLOSE_LINE, KEEP_ALIVE_LINE, Clock
from prefork.serve.response import HAS_DATE, HAS_SERVER, NO_LENGTH, WANTS_CLOSE, Head, render_refusal

if TYPE_CHECKING:
    from types import FrameType

    from prefork.serve.ends import Ends
    from prefork.serve.http import HttpConnection
    from prefork.serve.whole_request import Block

JOIN_BYTES = 65536
"""A body up to so long is copied behind its head, to be one write; a longer one is worth a write of its own."""


class ClientDisconnectedError(ConnectionError):
    """The client is gone, or has been given up; raised to an app that goes on writing to it (an OSError)."""


class Phase(enum.Enum):
    """How far a response is. Only `Exchange` moves it, and only downwards, but for `recycle`."""

    AWAITED = enum.auto()
    """The app has said nothing yet; anything may still be answered."""
    HEAD = enum.auto()
    """The app gave its head; nothing is on the wire yet, so a failure can still be a clean 500."""
    BODY = enum.auto()
    """The head is on the wire, the body is not complete: a failure can only cut the connection."""
    DONE = enum.auto()
    """All of it was handed to the transport, or never will be."""


_AWAITED, _HEAD, _BODY, _DONE = Phase.AWAITED, Phase.HEAD, Phase.BODY, Phase.DONE


class Exchange:
    """What the reader writes down of a request, and the framing of its response."""

    __slots__ = (
        "_chunked",
        "_flags",
        "_head",
        "_left",
        "_length",
        "_no_body",
        "began_ns",
        "block",
        "body_complete",
        "body_length_bytes",
        "body_read_bytes",
        "clock",
        "closing",
        "connection",
        "emit",
        "ends",
        "expects_continue",
        "gone",
        "headers",
        "keep_alive",
        "method",
        "phase",
        "request_id",
        "started_s",
        "target",
        "version",
    )

    def __init__(self, connection: HttpConnection, clock: Clock, emit: Callable[[bytes], None]) -> None:
        self.connection = connection
        self.clock = clock
        self.emit = emit
        self.method = ""
        self.target: tuple[str, str, bytes, bytes] = ("", "", b"", b"")
        """The path as UTF-8 and as latin-1 text, both percent-decoded, the raw path, the query string."""
        self.headers: list[tuple[bytes, bytes]] = []
        """Names in lower case, in the order they came."""
        self.block: Block | None = None  # what the fields were taken from, if no parser was needed
        self.version = "1.1"
        self.keep_alive = True
        """The request allows another one after it."""
        self.body_length_bytes = 0
        """As declared; 0 without a body, `reader.CHUNKED` for chunked."""
        self.body_read_bytes = 0
        self.body_complete = False
        self.expects_continue = False
        """The client waits for a 100 before it sends the body, and has not got one."""
        self.phase = _AWAITED
        self.closing = False
        """The response said, or meant, that the connection ends with it."""
        self.gone = False
        """The client cannot be answered any more."""
        self.ends: Ends | None = None
        """Whom the request is from, if a proxy spoke for somebody; None: the ends of the connection."""
        self.request_id = b""
        """Empty unless requests have ids."""
        self.started_s = 0.0
        """When the head was complete, if the access log wants to know."""
        self.began_ns = 0
        """The same by `clock.stopwatch_ns`, if the scoreboard does."""
        self._head = b""
        self._length = NO_LENGTH
        """As declared; once the head is out, how much of the body goes with it, and counted if nobody said."""
        self._flags = 0
        self._left = NO_LENGTH
        self._chunked = False
        self._no_body = False

    # What the interface does with a request.

    def begin(self) -> None:
        """Call the app, or get ready to: this exchange is now the connection's current one."""
        raise NotImplementedError

    def take_body(self, data: bytes) -> None:
        """A piece of the request's body came; it may come before `begin`."""
        raise NotImplementedError

    def end_body(self) -> None:
        """The request's body is complete."""
        raise NotImplementedError

    def lose(self) -> None:
        """The client is gone: tell the app, wake whoever waits."""
        raise NotImplementedError

    def abandon(self) -> None:
        """The request has taken too long and `lose` comes next: end the app's work on it, where that can be done."""

    def find_stack(self) -> list[FrameType]:
        """Where the app is with this request, the innermost call last; empty if nobody can tell."""
        return []

    def dismantle(self) -> None:
        """It will serve nobody any more: break the rings through it, for the collector may be off, and costs more."""

    def hang_up(self) -> None:
        """The client will send nothing more but may still read the answer."""
        raise NotImplementedError

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        raise NotImplementedError

    def tell_ends(self, ends: Ends | None) -> None:
        """From this request on, until told otherwise, the app hears that it is from and to these."""
        raise NotImplementedError

    # The response.

    def set_head(self, head: Head) -> None:
        """Keep a rendered head until the first body bytes decide its framing."""
        self._head, self._length, self._flags, is_bodiless = head
        self._no_body = is_bodiless or self.method == "HEAD"
        if self.request_id:
            self.add_request_id()
        self.phase = _HEAD

    def add_request_id(self) -> None:
        """Say it in the head, unless the app has."""
        if b"\r\nx-request-id:" not in self._head.lower():
            self._head += b"X-Request-ID: %b\r\n" % self.request_id

    def put(self, body: bytes, *, last: bool) -> None:
        """Frame and emit a piece of the body, after the head if that is still owed; `last` ends the response.

        Raises ValueError when the body is not as long as `Content-Length` says: before anything of it is on the
        wire if the mistake is already plain, else the caller must abort the connection.
        """
        size = len(body)
        if self.phase is _HEAD:
            if last and size <= JOIN_BYTES and not self._no_body:
                length = self._length
                if length == NO_LENGTH:
                    head = b"%bContent-Length: %d\r\n" % (self._head, size)
                    self._length = size
                elif length == size:
                    head = self._head
                else:
                    raise ValueError(f"Content-Length is {length}, the body has {size} bytes")
                self.phase = _DONE
                if (
                    self._flags
                    or not self.keep_alive
                    or self.expects_continue
                    or self.version != "1.1"
                    or self.connection.service.says_close
                ):
                    self.emit(head + self._make_tail() + body)
                else:  # nearly every response: the connection goes on, and there is nothing to ask for that
                    self.emit(head + self.clock.tail + body)
                return
            if not last and 0 < size <= JOIN_BYTES and size <= self._length and not self._no_body:
                self._left = self._length - size
                self.phase = _BODY
                self.emit(self._head + self._make_tail() + body)
                return
            self._put_head(size, last=last)
        if self._no_body:
            body = b""
        elif self._left != NO_LENGTH:
            self._left -= size
            if self._left < 0:
                raise ValueError(f"the body is longer than its Content-Length, {self._length}")
            if last and self._left:
                raise ValueError(f"the body is {self._left} bytes shorter than its Content-Length")
        elif self._chunked:
            self._length += size
            self._put_chunk(body, last=last)
            body = b""
        else:
            self._length += size
        if last:
            self.phase = _DONE
        if body:
            self.emit(body)

    def settle_length(self, size: int) -> None:
        """The whole body has `size` bytes, to be put in pieces: say so in a head that does not yet say anything."""
        if self.phase is _HEAD and self._length == NO_LENGTH and not self._no_body:
            self._head += b"Content-Length: %d\r\n" % size
            self._length = size

    def begin_file(self, size: int) -> int:
        """The rest of the body is in a file that has `size` bytes: emit what comes before, return how many to send.

        They go to the transport past this object; `end_file` follows. Raises ValueError if `Content-Length` is more.
        """
        length = self._length
        if self.phase is _HEAD:
            if length == NO_LENGTH:
                if not self._no_body or self._would_have_body():
                    self._head += b"Content-Length: %d\r\n" % size
                    self._length = size
            elif length > size and not self._no_body:
                raise ValueError(f"Content-Length is {length}, the file has {size} bytes")
            self._put_head(0, last=False)
        if self._no_body:
            return 0
        if self._left == NO_LENGTH:
            self._length += size
            if self._chunked and size:
                self.emit(b"%x\r\n" % size)
            return size
        if self._left > size:
            raise ValueError(
                f"the file is {self._left - size} bytes shorter than the Content-Length, {length}"
            )
        size = self._left
        self._left = 0
        return size

    def end_file(self, size: int) -> None:
        """Those `size` bytes were handed over: the response is complete."""
        if self._chunked:
            self.emit(b"\r\n0\r\n\r\n" if size else b"0\r\n\r\n")
        self.phase = _DONE

    def bytes_owed(self) -> int:
        """What is missing of the body by its `Content-Length`; `NO_LENGTH` without one."""
        return self._length if self.phase is _HEAD else self._left

    def may_be_chunked(self) -> bool:
        """Whether the body's length is neither said nor needed: so that trailers can follow it."""
        is_open = self._chunked or (self.phase is _HEAD and self._length == NO_LENGTH)
        return is_open and self.version == "1.1" and not self._no_body

    def end_chunks(self, trailers: bytes) -> None:
        """End a chunked response with these rendered fields."""
        self.emit(b"0\r\n%b\r\n" % trailers)
        self.phase = _DONE

    def fits_small(self, size: int) -> int:
        """How much of a file of `size` bytes is the whole body, if it is little enough to go with the head; else -1."""
        if self._length != NO_LENGTH:
            size = min(size, self._length)
        return size if self.phase is _HEAD and size <= JOIN_BYTES and not self._no_body else -1

    def _would_have_body(self) -> bool:
        """Whether only the method keeps this response from having one (RFC 9110 §8.6: no length in a 204)."""
        return self.method == "HEAD" and not self._head.startswith((b"HTTP/1.1 204 ", b"HTTP/1.1 304 "))

    def put_head(self) -> None:
        """Emit the head now, the body to follow: the app is taking its time."""
        self._put_head(0, last=False)

    def _put_head(self, size: int, *, last: bool) -> None:
        head = self._head
        if self._no_body:
            # A HEAD's unsent body says how long the GET's would be.
            if last and size and self._length == NO_LENGTH and self._would_have_body():
                head += b"Content-Length: %d\r\n" % size
            self._length = 0
        elif self._length != NO_LENGTH:
            if size > self._length or (last and size < self._length):
                raise ValueError(f"Content-Length is {self._length}, the body has {size} bytes")
            self._left = self._length
        elif last:
            head += b"Content-Length: %d\r\n" % size
            self._left = self._length = size
        elif self.version == "1.1":
            head += b"Transfer-Encoding: chunked\r\n"
            self._chunked = True
            self._length = 0
        else:
            self._length = 0
            self.keep_alive = False  # HTTP/1.0 ends a body of unknown length by closing (RFC 9112 §6.3)
        self.phase = _BODY
        self.emit(head + self._make_tail())

    def _put_chunk(self, body: bytes, *, last: bool) -> None:
        size = len(body)
        end = b"\r\n0\r\n\r\n" if last else b"\r\n"
        if not size:
            if last:
                self.emit(b"0\r\n\r\n")
        elif size <= JOIN_BYTES:
            self.emit(b"%x\r\n%b%b" % (size, body, end))
        else:
            self.emit(b"%x\r\n" % size)
            self.emit(body)
            self.emit(end)

    def _make_tail(self) -> bytes:
        clock = self.clock
        flags = self._flags
        if self.keep_alive and not flags and self.connection.may_keep_alive(self):
            return clock.tail if self.version == "1.1" else clock.tail_keep_alive
        if flags & WANTS_CLOSE or not self.keep_alive or not self.connection.may_keep_alive(self):
            self.closing = True
        tail = CLOSE_LINE if self.closing else b"" if self.version == "1.1" else KEEP_ALIVE_LINE
        if not flags & HAS_DATE:
            tail += clock.date_line
        if not flags & HAS_SERVER:
            tail += clock.server_line
        return tail + b"\r\n"

    def answer_failure(self) -> None:
        """The app failed: a 500 if nothing is on the wire yet, else the connection is cut (RFC 9112 §8)."""
        if self.gone or self.phase is _DONE:
            return
        connection = self.connection
        if self.phase is _BODY:
            connection.cut()
            return
        self.answer_itself(500)

    def answer_itself(self, status: int, fields: bytes = b"") -> None:
        """The server's own answer in place of the app's; nothing may be on the wire yet."""
        connection = self.connection
        self.closing = not (self.keep_alive and connection.may_keep_alive(self))
        if self.request_id:
            fields += b"X-Request-ID: %b\r\n" % self.request_id
        with_body = self.method != "HEAD"
        answer = render_refusal(status, self.clock, close=self.closing, with_body=with_body, fields=fields)
        self.set_plain_head(answer, with_body=with_body)
        self.phase = _DONE
        self.emit(answer)
        connection.finish(self)

    def set_plain_head(self, answer: bytes, *, with_body: bool) -> None:
        """Know of an answer of our own what `tell_sent` will be asked."""
        head, _, body = answer.partition(b"\r\n\r\n")
        self._head = head
        self._length, self._no_body = len(body), not with_body

    def tell_sent(self) -> tuple[bytes, int]:
        """The head of the response and how many bytes of its body went out; an empty head if nothing did."""
        if self.phase is _AWAITED or self.phase is _HEAD:
            return b"", 0
        return self._head, self._length - max(0, self._left)

    def client_gone(self) -> ClientDisconnectedError:
        """What an app is told that writes to nobody."""
        return ClientDisconnectedError("the client is gone")

    def recycle(self) -> None:
        """Forget the response, for the connection's next request."""
        self.phase = _AWAITED
        self.closing = False
        self.body_read_bytes = 0
        self._left = NO_LENGTH
        self._chunked = False
        self._head = b""
