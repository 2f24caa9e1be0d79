"""What the threads that ask tell the one that draws, and what it makes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from socket import socketpair
from typing import NamedTuple

from prefork.errors import refuse_unreachable
from prefork.top.history import History
from prefork.top.rates import Look, ServiceRates
from prefork.top.seen import Event, Seen

EVENTS_KEPT = 100


class Looked(NamedTuple):
    """A service has answered."""

    service: str
    look: Look


class Lost(NamedTuple):
    """It does not."""

    service: str
    why: str


class Happened(NamedTuple):
    """Something happened to it."""

    service: str
    event: Event


class Answered(NamedTuple):
    """What came of an order."""

    text: str


Message = Looked | Lost | Happened | Answered


class Mailbox:
    """From any thread to the one that waits for `fileno` to be readable."""

    def __init__(self) -> None:
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._wakes, self._waker = socketpair()
        self._wakes.setblocking(False)
        self._waker.setblocking(False)

    def fileno(self) -> int:
        """For selectors."""
        return self._wakes.fileno()

    def post(self, message: Message) -> None:
        """Leave a message."""
        self._messages.put(message)
        try:
            self._waker.send(b"\0")
        except OSError:  # full: who reads will wake up anyway; or closed, and nobody reads any more
            return

    def take(self) -> list[Message]:
        """All that were left, in order."""
        with suppress(BlockingIOError):
            self._wakes.recv(4096)
        taken = []
        try:
            while True:
                taken.append(self._messages.get_nowait())
        except Empty:
            return taken

    def close(self) -> None:
        """Nobody reads it any more."""
        self._wakes.close()
        self._waker.close()


class Gathered:
    """All services that are looked at, in the order in which they were named or found."""

    def __init__(self, names: Sequence[str]) -> None:
        self._services = {name: _Service() for name in names}

    def apply(self, message: Looked | Lost | Happened) -> None:
        """One piece of news; from a service that was never named, it is one more."""
        service = self._services.setdefault(message.service, _Service())
        match message:
            case Looked(look=look):
                service.look(look)
            case Lost(why=why):
                service.lose(why)
            case Happened(event=event):
                service.events.append(event)
            case _:
                refuse_unreachable(message)

    def show(self) -> list[Seen]:
        """As they were seen last."""
        return [
            Seen(
                name,
                service.rates,
                service.trouble,
                service.history.requests_per_s,
                service.history.p99_s,
                service.events,
            )
            for name, service in self._services.items()
        ]


class _Service:
    def __init__(self) -> None:
        self.history = History()
        self.rates: ServiceRates | None = None
        self.trouble = ""
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)

    def look(self, look: Look) -> None:
        if self.rates is not None and self.rates.pid != look.status.pid:
            text = f"another master answers to this name: pid {look.status.pid}, before it {self.rates.pid}"
            self.events.append(Event(look.status.started_at, text, is_bad=True))
        self.trouble = ""
        self.rates = self.history.add(look)

    def lose(self, why: str) -> None:
        self.trouble = why
        self.history.note_absence()
