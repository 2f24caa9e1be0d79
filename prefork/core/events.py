"""What can happen to the service, as the Arbiter hears it. Every event is a frozen struct; times are never in it."""

from __future__ import annotations

import msgspec

from prefork.core.policy import Policy


class Event(msgspec.Struct, frozen=True):
    """The base of all events."""


class Start(Event, frozen=True):
    """The listeners are bound: begin."""


class Woke(Event, frozen=True):
    """A deadline passed. `ticks`: for each serial, when its loop last beat (monotonic seconds, 0.0 for never)."""

    ticks: dict[int, float]


class StopAsked(Event, frozen=True):
    """TERM asks gracefully; INT and QUIT quickly. Any stop request during a stop makes it quick."""

    quick: bool
    reason: str


class ReloadAsked(Event, frozen=True):
    """A new configuration was read and is valid."""

    policy: Policy


class ReloadRefused(Event, frozen=True):
    """The new configuration is invalid, or what it needs cannot be opened."""

    why: str


class ScaleAsked(Event, frozen=True):
    """So many workers more or less (TTIN, TTOU), or so many: `to` counts if it is not 0."""

    by: int = 0
    to: int = 0


class ReplaceAsked(Event, frozen=True):
    """The worker of this slot shall be replaced; a slot that was given up gets another chance."""

    slot: int


class ParkAsked(Event, frozen=True):
    """Drain every worker and keep listening (WINCH); the next reload or scale-up brings workers back."""


class ZygoteReady(Event, frozen=True):
    """It imported the app and can fork."""

    gen: int


class ZygoteFailed(Event, frozen=True):
    """It cannot import the app, and exits by itself."""

    gen: int
    why: str


class ZygoteDeaf(Event, frozen=True):
    """Its channel is closed; an exit should follow."""

    gen: int


class ZygoteExited(Event, frozen=True):
    """It was reaped."""

    gen: int
    how: str


class WorkerEvent(Event, frozen=True):
    """Something about one worker, known by its serial: never reused, unlike a pid."""

    serial: int


class WorkerForked(WorkerEvent, frozen=True):
    """A fork that we asked for succeeded."""

    pid: int


class ForkRefused(WorkerEvent, frozen=True):
    """A fork that we asked for failed."""

    why: str


class WorkerReady(WorkerEvent, frozen=True):
    """The worker itself said so."""

    boot_ms: int


class WorkerDraining(WorkerEvent, frozen=True):
    """The worker left rotation: as it was told, or without us (a SIGTERM sent to it alone)."""

    reason: str


class WorkerRetires(WorkerEvent, frozen=True):
    """The worker asks to be replaced (max-requests, max-memory, max-age, the app)."""

    reason: str


class WorkerFailed(WorkerEvent, frozen=True):
    """The app refused to start in this worker; its exit follows."""

    why: str


class WorkerDeaf(WorkerEvent, frozen=True):
    """Its channel is closed; an exit should follow."""


class WorkerMisbehaved(WorkerEvent, frozen=True):
    """It sent something that is not a message."""

    why: str


class WorkerExited(WorkerEvent, frozen=True):
    """It was reaped. `killed`: by a SIGKILL, whoever sent it. `how` in words: `exit 1`, `SIGSEGV`."""

    how: str
    clean: bool
    killed: bool
    lost: int = 0
    """Requests that it had begun and not answered."""
    connections: int = 0
    """That it had open: each may have held one more request, sent and not read."""


AnyEvent = (
    Start
    | Woke
    | StopAsked
    | ReloadAsked
    | ReloadRefused
    | ScaleAsked
    | ReplaceAsked
    | ParkAsked
    | ZygoteReady
    | ZygoteFailed
    | ZygoteDeaf
    | ZygoteExited
    | WorkerEvent
)
