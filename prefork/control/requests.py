"""What can be asked of a master and what it answers: one JSON line a message.

A request names its verb in `do`, an answer what it is in `is`. Some verbs are answered by several lines; the last one
is `done` or `error`, and then the next request may be sent.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from prefork.control.status import ServiceStatus

REQUEST_BYTES = 65536
"""A longer one is refused."""
SCALE_MAX = 512

Count = Annotated[int, msgspec.Meta(ge=1, le=SCALE_MAX)]
Step = Annotated[int, msgspec.Meta(ge=-SCALE_MAX, le=SCALE_MAX)]
Index = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """The base of all requests."""


class AskStatus(Request, frozen=True, tag="status"):
    """→ `Told`, `Done`."""


class AskScale(Request, frozen=True, tag="scale"):
    """To so many (`max`: as `--workers max` counts where the master runs), or by so many. → `Done`."""

    to: Count | Literal["max"] | None = None
    by: Step = 0


class AskReload(Request, frozen=True, tag="reload"):
    """Read configuration and code anew. → with `wait` `Progress` …, then `Done` or `Failed`."""

    wait: bool = False


class AskRestart(Request, frozen=True, tag="restart"):
    """Replace the worker of this slot. → with `wait` `Done` only when the successor has taken over."""

    slot: Index
    wait: bool = False


class AskStop(Request, frozen=True, tag="stop"):
    """→ `Stopping` …, `Done`, and the end of the stream."""

    quick: bool = False


class AskDrain(Request, frozen=True, tag="drain"):
    """Leave load balancers, or come back to them. → `Done`."""

    drained: bool = True


class AskEvents(Request, frozen=True, tag="events"):
    """→ `Event` …, and with `follow` no end."""

    follow: bool = False


class AskStacks(Request, frozen=True, tag="stacks"):
    """Of the worker in this slot, or of all. → `Stacks` …, `Done`."""

    slot: Index | None = None


AnyRequest = AskStatus | AskScale | AskReload | AskRestart | AskStop | AskDrain | AskEvents | AskStacks


class Answer(msgspec.Struct, frozen=True, tag_field="is"):
    """The base of all answers. Fields that a later version adds are ignored."""


class Told(Answer, frozen=True, tag="status"):
    """The service now."""

    service: ServiceStatus


class Progress(Answer, frozen=True, tag="progress"):
    """How far a reload is."""

    gen: int
    moved: int
    of: int
    stage: str


class Stopping(Answer, frozen=True, tag="stopping"):
    """The stop is under way; it ends within `patience_s`."""

    workers: int
    patience_s: float


class Event(Answer, frozen=True, tag="event"):
    """A line of the master's log. `fields` as in the log; `detail` is several lines of text."""

    time: float
    level: str
    event: str
    fields: dict[str, str | int | float | bool | None] = {}
    detail: str = ""


class Missed(Answer, frozen=True, tag="missed"):
    """So many events came faster than they were read."""

    count: int


class Stacks(Answer, frozen=True, tag="stacks"):
    """Where each thread of a worker is; empty if it did not run to say so."""

    slot: int
    pid: int
    state: str
    text: str


class Done(Answer, frozen=True, tag="done"):
    """It is as asked. `facts` are of the verb."""

    message: str = ""
    facts: dict[str, int | str | float | bool] = {}


class Failed(Answer, frozen=True, tag="error"):
    """It is not."""

    message: str
    hints: tuple[str, ...] = ()
    exit_code: int = 1
    traceback: str = ""


AnyAnswer = Told | Progress | Stopping | Event | Missed | Stacks | Done | Failed
