"""Every message between master, zygote, worker, watcher, chooser and admin process, as frozen structs.

Each dialogue has its own socketpair: master ⇄ zygote, master ⇄ worker, and so on. A message that
carries a file descriptor says so in its class (`carries_fd`), because SCM_RIGHTS delivers descriptors in order but
beside the bytes; see unix(7).

Workers run app code, so what they say is a claim: nothing here is a path to follow or code to run.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from prefork.config.model import Config, Interface, LogFormat, LogTime


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of all messages: on the wire a JSON object whose `type` names the class."""

    carries_fd: ClassVar[bool] = False


# master → zygote


class Give(Message, frozen=True, tag="give"):
    """Carries a descriptor the generation needs; all of them come before `Boot`."""

    carries_fd: ClassVar[bool] = True
    what: Literal["listener", "scoreboard", "log", "access-log", "tls"]
    number: int = 0
    """Which listener: each has a number of its own, for as long as the master lives."""


class Boot(Message, frozen=True, tag="boot"):
    """Import the app of this configuration and say how that went."""

    gen: int
    config: Config


class Fork(Message, frozen=True, tag="fork"):
    """Fork a worker. Carries the worker's end of its channel to the master."""

    carries_fd: ClassVar[bool] = True
    serial: int
    slot: int
    row: int
    count: int
    """The service's target number of workers at this moment."""


class ReopenLog(Message, frozen=True, tag="reopen-log"):
    """To zygotes, workers and the admin process: write to this log file from now on. Carries it, already open for
    appending. The admin process is given its first one so, before it is told anything else.
    """

    carries_fd: ClassVar[bool] = True
    what: Literal["log", "access-log"] = "log"


class Unlisten(Message, frozen=True, tag="unlisten"):
    """To zygotes and workers: the service has left this listener. Take what waits in its backlog, if you accept, and
    close it. Those who never had it ignore this.
    """

    number: int


class Leave(Message, frozen=True, tag="leave"):
    """To a zygote: no more forks will be asked of you; exit. Its workers live on."""


# zygote → master


class Imported(Message, frozen=True, tag="imported"):
    """The zygote can fork now."""

    where: str
    """`module:attr` of the app, for people."""
    interface: Interface | None
    """None when the app is imported in the workers."""
    preloaded: bool
    why: str
    """Why it is not preloaded (`the import left 1 thread: opentelemetry-exporter`), else empty."""
    import_ms: int
    version: str = ""
    """The zygote's prefork."""


class ImportFailed(Message, frozen=True, tag="import-failed"):
    """The app cannot be served; the zygote exits."""

    message: str
    hints: tuple[str, ...] = ()
    traceback: str = ""


class Forked(Message, frozen=True, tag="forked"):
    """A worker exists. Carries its pidfd where the kernel has them (`has_pidfd`)."""

    serial: int
    pid: int
    has_pidfd: bool


class ForkFailed(Message, frozen=True, tag="fork-failed"):
    """The kernel refused to fork (EAGAIN, ENOMEM)."""

    serial: int
    error: str


class Reaped(Message, frozen=True, tag="reaped"):
    """A worker of this zygote has ended; `status` is wait(2)'s."""

    serial: int
    pid: int
    status: int


# master → worker


class Drain(Message, frozen=True, tag="drain"):
    """Leave rotation, answer what is open, exit 0. `last` says that nobody else will accept: empty the accept
    queue first.
    """

    reason: str
    graceful_s: float
    last: bool


class HandOver(Message, frozen=True, tag="hand-over"):
    """Carries the end of a channel beside this one: connections come through it, which the master has accepted. What is
    said there is in `system/handover.py`, and belongs to this protocol.
    """

    carries_fd: ClassVar[bool] = True


class Quit(Message, frozen=True, tag="quit"):
    """Quick stop: abort what is open, run the app's shutdown, exit 0."""


class Deliver(Message, frozen=True, tag="deliver"):
    """What the app in another worker posted."""

    sender: int
    """Its slot."""
    data: msgspec.Raw


# worker → master


class Ready(Message, frozen=True, tag="ready"):
    """Import done, startup done, accepting."""

    boot_ms: int
    interface: Interface
    where: str


class BootFailed(Message, frozen=True, tag="boot-failed"):
    """The app refused to start in this worker, which exits now."""

    message: str
    hints: tuple[str, ...] = ()
    traceback: str = ""


class Stacks(Message, frozen=True, tag="stacks"):
    """Carries the read end of the pipe into which the kernel-level signal handler dumps this worker's stacks."""

    carries_fd: ClassVar[bool] = True


class Draining(Message, frozen=True, tag="draining"):
    """The worker left rotation: it was asked to, or a SIGTERM was sent to it alone."""

    reason: str


class Retire(Message, frozen=True, tag="retire"):
    """Replace me: a successor shall be ready, then I shall be told to drain."""

    reason: str


class Post(Message, frozen=True, tag="post"):
    """From the app in this worker to the app in others, through the master."""

    to: int | None
    """A slot; None for every other worker."""
    data: msgspec.Raw
    """JSON that only the apps understand."""


class Drained(Message, frozen=True, tag="drained"):
    """The last word of a worker: how many requests were cut."""

    lost: int


class Resume(Message, frozen=True, tag="resume"):
    """From a zygote to itself across an exec: what it knew. Never on a channel."""

    boot: Boot
    listener_fds: dict[int, int]
    scoreboard_fd: int
    log_fd: int | None
    access_log_fd: int | None
    tls_fd: int | None
    unsafe: str
    """What the first import left behind."""


# master → watcher


class Watch(Message, frozen=True, tag="watch"):
    """Say when any of this changes, or has changed after `since_ns` (wall clock)."""

    name: str
    """The service's, for the process's title."""
    dirs: tuple[str, ...]
    """Absolute; with all below them."""
    files: tuple[str, ...]
    """Absolute, wherever they are; they need not exist."""
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    since_ns: int
    user: str | None
    group: str | None


# watcher → master


class Watching(Message, frozen=True, tag="watching"):
    """From now on nothing is missed."""

    by: Literal["watchfiles", "polling"]
    why: str
    """Why by polling, else empty."""
    files: int


class Changed(Message, frozen=True, tag="changed"):
    """Files appeared, changed or went, and then it was quiet."""

    paths: tuple[str, ...]
    """The first few of them, for people."""
    count: int


# master → chooser


class LoadStrategy(Message, frozen=True, tag="load-strategy"):
    """Import this function, as this user, from there."""

    strategy: str
    """`module:function`."""
    name: str
    """The service's, for the process's title."""
    app_dir: str
    chdir: str
    user: str | None
    group: str | None


class Choose(Message, frozen=True, tag="choose"):
    """Which of these workers shall have each of these clients?"""

    number: int
    candidates: tuple[tuple[int, int, int, int, int], ...]
    """Slot, serial, connections, requests in flight, turn."""
    addresses: tuple[str, ...]


# chooser → master


class StrategyLoaded(Message, frozen=True, tag="strategy-loaded"):
    """It was imported, and has chosen once on trial."""


class StrategyRefused(Message, frozen=True, tag="strategy-refused"):
    """It cannot be used; the chooser exits."""

    message: str
    hints: tuple[str, ...] = ()
    traceback: str = ""


class Chosen(Message, frozen=True, tag="chosen"):
    """The answer, in the order of the question."""

    number: int
    serials: tuple[int | None, ...]
    """None where the strategy has failed."""
    why: str = ""
    """How it failed first."""


# master → admin process


class GiveAdminListener(Message, frozen=True, tag="give-admin-listener"):
    """Carries a listener to answer at; all of them come before `ServeAdmin`."""

    carries_fd: ClassVar[bool] = True


class ServeAdmin(Message, frozen=True, tag="serve-admin"):
    """Answer at the listeners that were given: HTTP, but at the last `agents` of them a line for HAProxy."""

    name: str
    """The service's, for the process's title."""
    metrics_dir: str
    """Where the app's processes keep their metrics; empty: nowhere."""
    is_metrics_dir_ours: bool
    """Was it made for this service alone? Else files there may be somebody else's."""
    agents: int
    chdir: str
    """The app's directory, from where `metrics_dir` is seen."""
    log_format: LogFormat
    log_time: LogTime
    user: str | None
    group: str | None


class Standing(Message, frozen=True, tag="standing"):
    """The answer to `AskStanding`: a `control.status.ServiceStatus`."""

    status: msgspec.Raw


# admin process → master


class AskStanding(Message, frozen=True, tag="ask-standing"):
    """How is the service?"""


class AdminLives(Message, frozen=True, tag="admin-lives"):
    """Said every few seconds: who does not say it is stopped or stuck."""


class AdminNote(Message, frozen=True, tag="admin-note"):
    """A line for the log."""

    event: str
    why: str


MasterToZygote = Give | Boot | Fork | ReopenLog | Unlisten | Leave
ZygoteToMaster = Imported | ImportFailed | Forked | ForkFailed | Reaped
MasterToWorker = Drain | Quit | ReopenLog | Unlisten | Deliver | HandOver
WorkerToMaster = Ready | BootFailed | Stacks | Draining | Drained | Retire | Post
MasterToWatcher = Watch
WatcherToMaster = Watching | Changed
MasterToChooser = LoadStrategy | Choose
ChooserToMaster = StrategyLoaded | StrategyRefused | Chosen
MasterToAdmin = ReopenLog | GiveAdminListener | ServeAdmin | Standing
AdminToMaster = AskStanding | AdminLives | AdminNote
