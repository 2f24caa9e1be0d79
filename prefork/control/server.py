"""The master's end of the socket: a listener and its connections in the master's own selector.

No thread, no asyncio, and nothing that waits: what a client does not read stays here, and while it does, no more is
read from it, so that a connection never holds more than one request and one answer. When too many are open, the one
that has been silent for longest is closed: nobody can lock the operator out.

An answer is a generator. It gives the next line, or None while there is nothing to say yet, or the time at which it
wants to be asked again; it is asked at each turn of the loop anyway.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

import msgspec

from prefork.config.addresses import Address
from prefork.control.places import UnusableError, check_length, list_places, prepare
from prefork.control.requests import REQUEST_BYTES, AnyRequest, Done, Failed
from prefork.control.requests import AnyAnswer as Answer
from prefork.core import events as on
from prefork.errors import EXIT_NO_PERMISSION, EXIT_USAGE, AddressInUseError, PreforkError
from prefork.system import clock, processes
from prefork.system.listeners import Listener, bind_listener
from prefork.system.peers import Peer, read_peer

logger = logging.getLogger("prefork.control")

CONNECTIONS_MAX = 32
IDLE_S = 60.0
"""A connection that asks nothing for so long is closed."""
PAUSE_S = 1.0
"""Without descriptors, the listener is left alone for so long."""
READ_BYTES = 16384
SOCKET_MODE = 0o600

Answers = Iterator[Answer | bytes | float | None]
"""Bytes are a line that is encoded already; a number is monotonic seconds."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyRequest)


class Reply(NamedTuple):
    """What a request brings about: events for the Arbiter, at once, and then the answer."""

    events: Iterator[on.AnyEvent]
    answers: Answers


class Desk(Protocol):
    """Whoever knows what requests mean."""

    def take(self, request: AnyRequest, peer: Peer | None) -> Reply:
        """Never raises."""


class Connection:
    """One operator."""

    __slots__ = ("answers", "inbox", "is_ending", "look_at", "outbox", "peer", "seen_at", "sock")

    def __init__(self, sock: socket.socket, peer: Peer | None) -> None:
        self.sock = sock
        self.peer = peer
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.answers: Answers | None = None
        """To what it asked last, while that is not over."""
        self.look_at: float | None = None
        """When to ask for more of them."""
        self.is_ending = False
        """To be closed as soon as it has read what there is."""
        self.seen_at = clock.monotonic()

    def fileno(self) -> int:
        """For selectors."""
        return self.sock.fileno()


class Server:
    """The socket of one master. It is there or it is not; the service does not depend on it."""

    def __init__(self, selector: selectors.BaseSelector, environ: Mapping[str, str]) -> None:
        self.path = ""
        """Empty while there is none."""
        self._selector = selector
        self._environ = environ
        self._uid = os.geteuid()
        self._listener: Listener | None = None
        self._desk: Desk | None = None
        self._name = ""
        self._connections: list[Connection] = []
        self._paused_until: float | None = None

    def open(self, name: str, desk: Desk) -> None:
        """Listen under this name. Where that cannot be, one line says why, and that is all."""
        self._name, self._desk = name, desk
        try:
            self._listener, self.path, why = self._bind(name)
        except UnusableError as error:
            logger.info("no control socket: %s", error)
            return
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        logger.info("control socket", extra={"path": self.path, **({"why": why} if why else {})})

    def rename(self, name: str) -> None:
        """A reload gave the service another name."""
        if name == self._name or self._desk is None:
            return
        self._stop_listening()
        self.open(name, self._desk)

    def _bind(self, name: str) -> tuple[Listener, str, str]:
        """In the first place that can be used, and what is remarkable about it. Raises `UnusableError` with what is
        wrong with each.
        """
        troubles: dict[str, None] = {}
        for place in list_places(self._environ, self._uid):
            try:
                prepare(place, self._uid)
                return _bind_one(check_length(os.path.abspath(place.path_for(name))))
            except UnusableError as error:
                troubles[str(error)] = None
        raise UnusableError("; ".join(troubles))

    # the loop's turn

    def next_deadline(self) -> float | None:
        """When `tend` has something to do though nothing came; None if it has not."""
        if not self._connections and self._paused_until is None:
            return None
        found = [each.seen_at + IDLE_S for each in self._connections if each.answers is None]
        if self._paused_until is not None:
            found.append(self._paused_until)
        found += [each.look_at for each in self._connections if each.look_at is not None]
        return min(found, default=None)

    def tend(self) -> Iterator[on.AnyEvent]:
        """Last in each turn of the loop: go on answering, take the next requests, close who is silent."""
        if not self._connections and self._paused_until is None:
            return
        now = clock.monotonic()
        if self._paused_until is not None and self._paused_until <= now:
            self._paused_until = None
            if self._listener is not None:
                self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        for connection in list(self._connections):
            self._go_on(connection)
            if connection.inbox:
                yield from self._take_requests(connection)
            if connection.answers is None and connection.seen_at + IDLE_S <= now:
                self._drop(connection)
        for connection in list(self._connections):  # what was just asked may be news for others
            self._go_on(connection)

    def _accept(self) -> Iterator[on.AnyEvent]:
        if self._listener is None:
            return
        try:
            sock, _ = self._listener.sock.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._selector.unregister(self._listener)
            self._paused_until = clock.monotonic() + PAUSE_S
            return
        sock.setblocking(False)
        connection = Connection(sock, read_peer(sock))
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(connection))
        self._connections.append(connection)
        if connection.peer is not None and connection.peer.uid not in (0, self._uid):
            logger.warning("a stranger was sent away", extra={"uid": connection.peer.uid})
            why = f"uid {connection.peer.uid} may not operate this service, only uid {self._uid} and root"
            self._refuse(connection, Failed(why, exit_code=EXIT_NO_PERMISSION))
        if len(self._connections) > CONNECTIONS_MAX:
            self._drop(min(self._connections, key=lambda each: each.seen_at))
        yield from ()

    def _read(self, connection: Connection) -> Iterator[on.AnyEvent]:
        try:
            data = connection.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:  # whoever hangs up does not wait for an answer
            self._drop(connection)
            return
        connection.seen_at = clock.monotonic()
        connection.inbox += data
        yield from self._take_requests(connection)

    def _take_requests(self, connection: Connection) -> Iterator[on.AnyEvent]:
        inbox = connection.inbox
        while connection.answers is None and not connection.outbox and not connection.is_ending and inbox:
            line, end, _ = bytes(inbox).partition(b"\n")
            if not end:
                break
            del inbox[: len(line) + 1]
            try:
                request = _decoder.decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                self._refuse(connection, Failed(f"not a request: {error}", exit_code=EXIT_USAGE))
                return
            assert self._desk is not None  # noqa: S101  # it listens
            reply = self._desk.take(request, connection.peer)
            yield from reply.events
            connection.answers = reply.answers
            self._go_on(connection)
        if len(inbox) > REQUEST_BYTES:
            self._refuse(
                connection, Failed(f"a request is {REQUEST_BYTES} bytes at most", exit_code=EXIT_USAGE)
            )
        else:
            self._listen(connection)

    def flush(self, connection: object) -> None:
        """The selector says that it takes more."""
        if isinstance(connection, Connection):
            self._send(connection)
            self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        """Fetch lines until there is none, or the client takes no more."""
        while connection.answers is not None and not connection.outbox:
            try:
                answer = next(connection.answers, None)
            except Exception:  # an outer loop: whatever is wrong with an answer, the service goes on
                logger.exception("an answer failed")
                answer = Failed("the answer failed; the log of the service says why")
            connection.look_at = answer if isinstance(answer, float) else None
            if answer is None or isinstance(answer, float):
                return
            if isinstance(answer, Done | Failed):
                connection.answers = None
                connection.seen_at = clock.monotonic()
            connection.outbox += answer if isinstance(answer, bytes) else _encoder.encode(answer) + b"\n"
            self._send(connection)

    def _send(self, connection: Connection) -> None:
        try:
            while connection.outbox:
                del connection.outbox[: connection.sock.send(connection.outbox)]
        except (BlockingIOError, InterruptedError):
            self._listen(connection)
            return
        except OSError:
            self._drop(connection)
            return
        if connection.is_ending:
            self._drop(connection)
        else:
            self._listen(connection)

    def _refuse(self, connection: Connection, why: Failed) -> None:
        if connection.outbox:  # it does not read what it has asked for: it would not read this
            self._drop(connection)
            return
        connection.inbox.clear()
        connection.is_ending = True
        connection.outbox += _encoder.encode(why) + b"\n"
        self._send(connection)

    def _listen(self, connection: Connection) -> None:
        """Have the selector watch for what is of interest now. Also while we answer: it may hang up."""
        if connection.sock.fileno() < 0:
            return
        mask = (not connection.is_ending and selectors.EVENT_READ) | (
            selectors.EVENT_WRITE if connection.outbox else 0
        )
        self._selector.modify(connection, mask, lambda: self._read(connection))

    def _drop(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._selector.unregister(connection)
        connection.sock.close()
        connection.answers = connection.look_at = None
        connection.outbox.clear()
        connection.inbox.clear()

    # the end

    def close(self) -> None:
        """The master ends: what can be said is said, and the file goes if it is still ours."""
        for connection in list(self._connections):
            self._go_on(connection)
            self._drop(connection)
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._listener is None:
            return
        if self._paused_until is None:
            self._selector.unregister(self._listener)
        self._paused_until = None
        self._listener.close()
        self._listener, self.path = None, ""


def _bind_one(path: str) -> tuple[Listener, str, str]:
    try:
        return _listen(path), path, ""
    except AddressInUseError:
        other = check_length(f"{path.removesuffix('.sock')}-{processes.get_pid()}.sock")
        with suppress(PreforkError):
            return _listen(other), other, "another service has the name"
        raise UnusableError(f"{path}: in use") from None
    except PreforkError as error:
        raise UnusableError(f"{path}: {error.message}") from None


def _listen(path: str) -> Listener:
    return bind_listener(Address("unix", path=path), backlog=CONNECTIONS_MAX, socket_mode=SOCKET_MODE)
