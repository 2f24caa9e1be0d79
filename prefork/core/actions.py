"""What the Arbiter wants done. The master has one function for each."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]


class Action(msgspec.Struct, frozen=True):
    """The base of all actions."""


class StartZygote(Action, frozen=True):
    """Exec a fresh interpreter for this generation, with the newest configuration of that generation."""

    gen: int


class DismissZygote(Action, frozen=True):
    """Tell it to leave; its workers live on."""

    gen: int


class KillZygote(Action, frozen=True):
    """SIGKILL."""

    gen: int


class ForkWorker(Action, frozen=True):
    """Ask the zygote of `gen` for a worker in `slot`, with `row` of the scoreboard."""

    serial: int
    slot: int
    gen: int
    row: int
    count: int


class DrainWorker(Action, frozen=True):
    """Tell it to drain within `graceful_s`; `last` if nobody else will accept."""

    serial: int
    reason: str
    graceful_s: float
    last: bool


class QuitWorker(Action, frozen=True):
    """Tell it to end at once."""

    serial: int


class DumpStacks(Action, frozen=True):
    """Have the kernel make it write down where each of its threads is."""

    serial: int


class TellStall(Action, frozen=True):
    """Log the stacks dumped so far: its loop has been stuck for at least so long. `untold`: stalls before this one that
    were too many to tell of.
    """

    serial: int
    stalled_s: float
    untold: int


class KillWorker(Action, frozen=True):
    """Log the stacks dumped so far, then SIGKILL."""

    serial: int
    why: str


class ForgetWorker(Action, frozen=True):
    """It is gone: close its channel, free its row."""

    serial: int


class AdoptConfiguration(Action, frozen=True):
    """A rollout is over: from now on the configuration of this generation is the service's. Its listeners and no
    others are kept, its log and its name are used.
    """

    gen: int


class CloseListeners(Action, frozen=True):
    """The service ends: close our copies, unlink unix sockets that are still ours."""


class Report(Action, frozen=True):
    """A line for the log."""

    level: Level
    event: str
    fields: dict[str, str | float] = {}


class Exit(Action, frozen=True):
    """The master ends with this code, and `why` in words. The last action there is."""

    code: int
    why: str
