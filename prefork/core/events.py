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


class ScaleAsked(Event, frozen=True):
    """One worker more or less (TTIN, TTOU)."""

    by: int


class ZygoteReady(Event, frozen=True):
    """It imported the app and can fork."""

    gen: int


class ZygoteFailed(Event, frozen=True):
    """It cannot import the app, and exits by itself."""

    gen: int
    why: str


class ZygoteExited(Event, frozen=True):
    """It was reaped."""

    gen: int
    how: str


class WorkerForked(Event, frozen=True):
    """A fork that we asked for succeeded."""

    serial: int
    pid: int


class ForkRefused(Event, frozen=True):
    """A fork that we asked for failed."""

    serial: int
    why: str


class WorkerReady(Event, frozen=True):
    """The worker itself said so."""

    serial: int
    boot_ms: int


class WorkerDraining(Event, frozen=True):
    """The worker left rotation without us (a SIGTERM sent to it alone)."""

    serial: int
    reason: str


class WorkerFailed(Event, frozen=True):
    """The app refused to start in this worker; its exit follows."""

    serial: int
    why: str


class WorkerDeaf(Event, frozen=True):
    """Its channel is closed; an exit should follow."""

    serial: int


class WorkerMisbehaved(Event, frozen=True):
    """It sent something that is not a message."""

    serial: int
    why: str


class WorkerExited(Event, frozen=True):
    """It was reaped. `killed`: by a SIGKILL, whoever sent it. `how` in words: `exit 1`, `SIGSEGV`."""

    serial: int
    how: str
    clean: bool
    killed: bool
