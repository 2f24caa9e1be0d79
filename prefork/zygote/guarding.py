"""Ready to fork: fork on demand, keep a spare, reap, and guard the workers to their end.

The child returns out of `run` to the top of the stack, so that no frame of the zygote, and none of its `finally`
blocks, lies under a worker.
"""

from __future__ import annotations

import os
import selectors
import signal
from typing import TYPE_CHECKING

from prefork.ipc import messages as say
from prefork.ipc.codec import Reader, encode
from prefork.serve.app import LoadedApp
from prefork.system import clock, processes, signals, titles
from prefork.system.channel import Channel, open_pair
from prefork.worker.errand import Errand, Inherited
from prefork.zygote.spare import Reserve, Spare, Standby

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls

ORPHAN_GRACE_S = 7.0
"""When the master is gone, workers have so long to drain before their guardian kills them."""


class Zygote:
    """Ready to fork. Its only state is which children it has."""

    def __init__(
        self,
        boot: say.Boot,
        inherited: Inherited,
        app: LoadedApp | None,
        tls: Tls | None,
        channel: Channel,
        reader: Reader[say.MasterToZygote],
    ) -> None:
        self._boot = boot
        self._inherited = inherited
        self._app = app
        self._tls = tls
        self._channel = channel
        self._reader = reader
        self._serials: dict[int, int | None] = {}
        """pid → serial of every child not reaped yet; a spare has none."""
        self._reserve = Reserve(is_allowed=app is not None)
        self._inbox = signals.SignalInbox([signal.SIGCHLD])
        self._is_leaving = False
        self._kill_at: float | None = None

    def run(self, waiting: list[say.MasterToZygote]) -> Errand | Standby | None:
        """Fork and reap until told to leave and the last child is gone. In a forked child, returns its purpose."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._inbox, selectors.EVENT_READ)
            selector.register(self._channel, selectors.EVENT_READ)
            while True:
                for message in waiting:
                    if (errand := self._obey(message)) is not None:
                        selector.close()
                        return errand
                waiting = []
                if self._is_leaving and not self._serials:
                    return None
                ready = selector.select(self._patience())
                self._inbox.take()
                self._reap()
                if any(key.fileobj is self._channel for key, _ in ready):
                    data = self._channel.receive()
                    if data is None:
                        selector.unregister(self._channel)
                        self._master_is_gone()
                    else:
                        waiting = self._reader.feed(data)
                elif not ready and self._kill_at is not None:
                    self._kill_orphans()
                elif not ready and (standby := self._make_due_spare()) is not None:
                    selector.close()
                    return standby
                if self._channel.has_unsent():
                    self._channel.flush()

    def _patience(self) -> float | None:
        if self._kill_at is not None:
            return max(0.0, self._kill_at - clock.monotonic())
        return 0.05 if self._channel.has_unsent() else self._reserve.patience()

    def _obey(self, message: say.MasterToZygote) -> Errand | None:
        match message:
            case say.Fork():
                return self._fork(message)
            case say.ReopenLog():
                self._inherited.reopen(message.what, self._channel.take_promised_fd())
                self._reserve.renew()  # the spare would write to the old one
            case say.Unlisten():
                if (left := self._inherited.listener_fds.pop(message.number, None)) is not None:
                    os.close(left)
                    self._reserve.renew()  # the spare would keep it open
            case say.Leave():
                self._leave()
            case say.Boot() | say.Give():
                raise AssertionError("a zygote boots once")
        return None

    def _fork(self, message: say.Fork) -> Errand | None:
        fd = self._channel.take_promised_fd()
        spare = self._reserve.take()
        if spare is not None:
            self._tell_forked(message.serial, spare.pid)
            spare.hand_over(message, fd)  # last, so that its own words come after ours
            os.close(fd)
            return None
        try:
            pid = processes.fork()
        except OSError as error:
            self._channel.send(encode(say.ForkFailed(message.serial, f"cannot fork: {error.strerror}")))
            os.close(fd)
            return None
        if pid == 0:
            self._let_go()
            return Errand(self._boot, self._inherited, self._app, message, fd, self._tls)
        os.close(fd)
        self._tell_forked(message.serial, pid)
        return None

    def _tell_forked(self, serial: int, pid: int) -> None:
        self._serials[pid] = serial
        # Opened before anybody can reap it, so it cannot mean a later process with the same pid.
        pidfd = processes.open_pidfd(pid)
        self._channel.send(encode(say.Forked(serial, pid, pidfd is not None)), pidfd)
        if pidfd is not None:
            os.close(pidfd)

    def _make_due_spare(self) -> Standby | None:
        """Fork it, if it is time. In the child, returns what to wait with."""
        if self._app is None or not self._reserve.is_due():
            return None
        try:
            channel, theirs = open_pair()
        except OSError:  # no descriptor left: no spare, until after the next fork
            return None
        try:
            pid = processes.fork()
        except OSError:
            channel.close()
            theirs.close()
            return None
        if pid == 0:
            channel.close()
            self._let_go()
            return Standby(self._boot, self._inherited, self._app, theirs, self._tls)
        theirs.close()
        self._serials[pid] = None
        self._reserve.keep(Spare(pid, channel))
        return None

    def _let_go(self) -> None:
        """In a child: what is the zygote's."""
        self._inbox.close()
        self._channel.close()
        signals.restore(signal.SIGCHLD)

    def _reap(self) -> None:
        for pid in list(self._serials):  # never waitpid(-1): the app's import may have children of its own
            if (ended := processes.reap(pid)) is not None:
                serial = self._serials.pop(pid)
                if serial is None:
                    self._reserve.forget(pid)
                else:
                    self._channel.send(encode(say.Reaped(serial, pid, ended.status)))

    def _leave(self) -> None:
        self._is_leaving = True
        self._reserve.close()
        titles.set_title(f"prefork: zygote {self._boot.config.name} gen={self._boot.gen} leaving")
        for fd in self._inherited.listener_fds.values():
            os.close(fd)
        self._inherited.listener_fds.clear()

    def _master_is_gone(self) -> None:
        if not self._is_leaving:
            self._leave()
        self._kill_at = clock.monotonic() + ORPHAN_GRACE_S

    def _kill_orphans(self) -> None:
        for pid in self._serials:
            processes.send_signal(pid, None, signal.SIGKILL)
        self._kill_at = clock.monotonic() + 1.0
