"""A worker forked before anybody asks for one: it has its loop and its service, and waits to be told which it is.

A fresh fork pays for its copy of the heap page by page, and under full load it starts at the end of the scheduler's
queue. A spare has both behind it, so that a dead worker's successor is READY sooner. To the master it is a fork like
any other: it never hears of a spare before the spare is a worker.

A spare touches no listener and runs no code of the app's but what any fork runs (`os.register_at_fork`). It never
outlives its zygote, nor is it in anybody's way: it is made in a pause, and only one that sleeps is ever handed a fork.
One that was stopped or is dying costs what it would without spares: a fork. Stopped in the instant between that look
and its first step as a worker, it is what any worker stopped while it boots is: the boot timeout's.
"""

from __future__ import annotations

import selectors
import signal
import socket
from typing import TYPE_CHECKING, NamedTuple

from prefork.errors import AppError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_zygote
from prefork.serve.app import LoadedApp
from prefork.system import clock, processes, signals, titles
from prefork.system.channel import Channel
from prefork.worker.errand import Errand, Inherited
from prefork.worker.main import run_worker
from prefork.worker.preparing import prepare

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls

PAUSE_S = 0.3
"""So long nobody must have asked for a fork before a spare is made: a start, a reload or a storm has come to rest."""
ASLEEP = "S"


# the zygote's side


class Spare(NamedTuple):
    """The zygote's hold on its spare."""

    pid: int
    channel: Channel

    def hand_over(self, fork: say.Fork, channel_fd: int) -> None:
        """Make it this worker, with its end of the channel to the master."""
        self.channel.send(encode(fork), channel_fd)
        self.channel.close()  # what was sent still arrives

    def discard(self) -> None:
        """End it, in whatever state it is; it is still to be reaped."""
        self.channel.close()
        # It would exit at the end of the channel, but not if it was stopped. Not reaped yet, so the pid is its own.
        processes.send_signal(self.pid, None, signal.SIGKILL)


class Reserve:
    """At most one spare, and when to make the next."""

    def __init__(self, *, is_allowed: bool) -> None:
        # Where the kernel does not tell states, not even our own, no spare would ever be taken.
        self._is_allowed = is_allowed and processes.read_state(processes.get_pid()) != ""
        self._spare: Spare | None = None
        self._make_at: float | None = None

    def patience(self) -> float | None:
        """For how long there is nothing to make; None: until the next fork."""
        return None if self._make_at is None else max(0.0, self._make_at - clock.monotonic())

    def is_due(self) -> bool:
        """Shall a spare be made now? Whoever asks does so: after an attempt that failed there is no other until the
        next fork.
        """
        if self._make_at is None or clock.monotonic() < self._make_at:
            return False
        self._make_at = None
        return True

    def keep(self, spare: Spare) -> None:
        """It was made."""
        self._spare = spare

    def take(self) -> Spare | None:
        """For a fork that is asked for now: the spare, if it is there and only waits. A pause begins."""
        if self._is_allowed:
            self._make_at = clock.monotonic() + PAUSE_S
        spare, self._spare = self._spare, None
        if spare is not None and processes.read_state(spare.pid) != ASLEEP:
            spare.discard()
            return None
        return spare

    def forget(self, pid: int) -> None:
        """A spare was reaped. If nobody discarded it, somebody else did: the next comes only after the next fork."""
        if self._spare is not None and self._spare.pid == pid:
            self._spare.channel.close()
            self._spare = None

    def renew(self) -> None:
        """What the spare inherited is of yesterday."""
        if self._spare is not None:
            self._spare.discard()
            self._spare = None
            self._make_at = clock.monotonic() + PAUSE_S

    def close(self) -> None:
        """No spare any more."""
        self._is_allowed = False
        self._make_at = None
        if self._spare is not None:
            self._spare.discard()
            self._spare = None


# the spare's side


class Standby(NamedTuple):
    """Everything a spare starts with."""

    boot: say.Boot
    inherited: Inherited
    app: LoadedApp
    sock: socket.socket
    """Its end of the channel to the zygote."""
    tls: Tls | None = None


def run_spare(standby: Standby) -> int:
    """Prepare, wait, be the worker that is asked for; returns its exit code. Ends the process if none ever is."""
    boot = standby.boot
    titles.set_title(f"prefork: spare {boot.config.name} gen={boot.gen}")
    # The channel's end tells of the zygote's; but not to a process that is stopped.
    processes.die_with_parent(die=True)
    try:
        prepared = prepare(boot.config, standby.app, standby.tls)
    except (AppError, OSError):  # a worker that is forked when one is needed says why
        processes.exit_now(1)
    errand = _wait_for_errand(standby)
    if errand is None:
        processes.exit_now(0)  # not through the app's atexit: it was never a worker
    return run_worker(errand, prepared)


def _wait_for_errand(standby: Standby) -> Errand | None:
    """None at the end of the zygote, or on a signal that ends a process."""
    channel = Channel(standby.sock)
    inbox = signals.SignalInbox([signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(inbox, selectors.EVENT_READ)
        selector.select()
    data = channel.receive()
    if not data:
        return None
    processes.die_with_parent(die=False)
    inbox.close()
    (fork,) = read_from_master_as_zygote().feed(data)
    if not isinstance(fork, say.Fork):
        raise AssertionError("a spare hears of one fork and of nothing else")  # noqa: TRY004 a bug of ours
    fd = channel.take_promised_fd()
    channel.close()
    return Errand(standby.boot, standby.inherited, standby.app, fork, fd)
