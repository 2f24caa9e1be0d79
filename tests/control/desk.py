"""A control server in a selector, driven turn by turn, with a desk that answers what the test wants."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefork.control import requests as ask
from prefork.control.server import Answers, Connection, Reply, Server
from prefork.core import events as on
from prefork.system import clock
from prefork.system.peers import Peer

DEADLINE_S = 10.0


class FakeDesk:
    """`status` is answered with `lines` and done, `events` never ends, `scale` is an event for the Arbiter."""

    def __init__(self) -> None:
        self.lines: list[ask.AnyAnswer | bytes | None] = []
        self.asked: list[ask.AnyRequest] = []
        self.decided: list[on.AnyEvent] = []
        self.peers: list[Peer | None] = []

    def take(self, request: ask.AnyRequest, peer: Peer | None) -> Reply:
        self.asked.append(request)
        self.peers.append(peer)
        match request:
            case ask.AskEvents():
                return Reply(iter(()), self._tell_for_ever())
            case ask.AskScale(to=int(to)):
                return Reply(iter([on.ScaleAsked(to=to)]), self._tell_decided())
            case _:
                return Reply(iter(()), iter([*self.lines, ask.Done("fine")]))

    def _tell_for_ever(self) -> Answers:
        while True:
            yield self.lines.pop(0) if self.lines else None

    def _tell_decided(self) -> Answers:
        yield ask.Done(f"{len(self.decided)} decided")


class Office:
    """The server with its loop, as the master has it."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.selector = selectors.DefaultSelector()
        self.server = Server(self.selector, environ or {"PREFORK_CONTROL": str(folder)})
        self.desk = FakeDesk()
        self.clients: list[Client] = []

    def turn(self, timeout_s: float = 0.0) -> None:
        """One turn of the loop."""
        for key, mask in self.selector.select(timeout_s):
            if mask & selectors.EVENT_WRITE and isinstance(key.fileobj, Connection):
                self.server.flush(key.fileobj)
            if mask & selectors.EVENT_READ:
                self.desk.decided.extend(key.data())
        self.desk.decided.extend(self.server.tend())

    def turn_until(self, condition: Callable[[], object]) -> None:
        """Turns until it is true."""
        deadline = clock.monotonic() + DEADLINE_S
        while not condition():
            assert clock.monotonic() < deadline, "not in time"
            self.turn(0.01)

    def connect(self) -> Client:
        """Another operator."""
        self.clients.append(Client(self))
        return self.clients[-1]

    def close(self) -> None:
        self.server.close()
        self.selector.close()
        for client in self.clients:
            client.sock.close()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Turns by itself, for a blocking client."""
        is_over = threading.Event()

        def run() -> None:
            while not is_over.is_set():
                self.turn(0.01)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join(DEADLINE_S)


class Client:
    """A socket and what it has received."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(office.server.path)
        self.sock.setblocking(False)
        self.data = b""
        self.is_closed = False

    def send(self, data: bytes) -> None:
        """As much as the kernel takes; the office turns meanwhile."""
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.office.turn(0.01)
            except OSError:
                return

    def read(self) -> None:
        try:
            while data := self.sock.recv(65536):
                self.data += data
            self.is_closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.is_closed = True

    def lines(self, count: int) -> list[bytes]:
        """The next so many lines."""

        def has_come() -> bool:
            self.read()
            return self.data.count(b"\n") >= count or self.is_closed

        self.office.turn_until(has_come)
        lines = self.data.split(b"\n")
        self.data = b"\n".join(lines[count:])
        return lines[:count]

    def wait_closed(self) -> None:
        def has_ended() -> bool:
            self.read()
            return self.is_closed

        self.office.turn_until(has_ended)
