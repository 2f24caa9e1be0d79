"""Actions → system calls: one function for each action of the Arbiter's, and what generations are given.

It never decides and never waits. What an action makes happen at once (a fork that could not be asked for) is an event
again: `echoes`.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

import msgspec

from prefork.config.balance import SHARED
from prefork.config.model import Config
from prefork.core import actions as do
from prefork.core import events as on
from prefork.errors import PreforkError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode
from prefork.master.children import Children, WorkerHandle, ZygoteHandle
from prefork.master.handing import Handing
from prefork.master.hearing import Ear
from prefork.master.ledger import Ledger
from prefork.master.provisions import METRICS_DIR_VARIABLE, LogFile, Provider, Provision
from prefork.system import processes
from prefork.system.certificates import Credentials, seal
from prefork.system.channel import open_pair
from prefork.system.handover import open_handover
from prefork.system.scoreboard import Scoreboard
from prefork.system.spawning import Spawned, spawn_zygote

logger = logging.getLogger("prefork.master")

NO_STACKS = "no stacks: it did not run to write them"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Performer:
    """One master's hands. A generation keeps the configuration it was started with for as long as it `is_known`.
    `head_start` becomes the first zygote, `python` runs the others.
    """

    def __init__(  # noqa: PLR0913  # made in one place
        self,
        provision: Provision,
        provider: Provider,
        scoreboard: Scoreboard,
        children: Children,
        ear: Ear,
        handing: Handing,
        *,
        is_known: Callable[[int], bool],
        on_serving: Callable[[], None],
        on_reopened: Callable[[LogFile, int], None],
        head_start: Spawned | None,
        python: str,
    ) -> None:
        self.provision = provision
        """What is in force: that of the generation in service."""
        self.echoes: list[on.AnyEvent] = []
        """What performing actions made happen."""
        self.exit: do.Exit | None = None
        self._provider = provider
        self._provisions: dict[int, Provision] = {}
        self._next: Provision | None = None
        """The newest, until a generation is started with it."""
        self._rolling: Provision | None = None
        """That of the generation on its way through the slots."""
        self.ledger = Ledger(scoreboard)
        self._scoreboard = scoreboard
        self._children = children
        self._ear = ear
        self._handing = handing
        self._newest_listener: dict[int, int] = {}
        """Of each generation, when it was started."""
        self._is_known = is_known
        self._on_serving = on_serving
        self._on_reopened = on_reopened
        self._head_start = head_start
        self._python = python
        handing.listen(provision.listeners)

    def perform(self, action: do.Action) -> None:
        match action:
            case do.StartZygote():
                self._start_zygote(action.gen)
            case do.DismissZygote():
                if zygote := self._children.zygotes.get(action.gen):
                    self._children.send(zygote, say.Leave())
            case do.KillZygote():
                if zygote := self._children.zygotes.get(action.gen):
                    processes.send_signal(zygote.pid, None, signal.SIGKILL)
            case do.ForkWorker():
                self._fork_worker(action)
            case do.DrainWorker():
                self._drain_worker(action)
            case do.QuitWorker():
                self._children.send(self._children.workers[action.serial], say.Quit())
            case do.DumpStacks():
                worker = self._children.workers[action.serial]
                worker.asked_by_arbiter = worker.ask_stacks()
            case do.TellStall():
                self._tell_stall(self._children.workers[action.serial], action)
            case do.KillWorker():
                self._kill_worker(self._children.workers[action.serial], action.why)
            case do.ForgetWorker():
                self._forget_worker(action.serial)
            case do.AdoptConfiguration():
                self._adopt(action.gen)
            case do.CloseListeners():
                self._handing.finish()
                self._provider.close_listeners()
            case do.Report():
                logger.log(LEVELS[action.level], action.event, extra=action.fields)
                if action.event in {"serving", "reloaded"}:
                    processes.give_back_memory()
                if action.event == "serving":
                    self._on_serving()
            case do.Exit():
                self._handing.close()
                self._handing.choosing.end()
                self.exit = action
            case _:
                raise AssertionError(f"unknown action {action!r}")

    def prepare(self, config: Config) -> None:
        """Open what this configuration needs: it is for the next generation. Raises `PreforkError` if that cannot be,
        and then nothing has changed.
        """
        known = {number for provision in self._needed() for number in provision.listeners}
        known_admin = [listener for provision in self._needed() for listener in provision.admin]
        self._next = self._provider.provide(config)
        for number, listener in self._next.listeners.items():
            if number not in known:
                logger.info("listening", extra=listener.describe())
        for what, listener in self._next.name_admin():
            if listener not in known_admin:
                logger.info("%s listening", what, extra=listener.describe())
        self._close_unused()

    def list_log_files(self) -> list[LogFile]:
        """Every log that is in use and has a path, once."""
        return [log for log, _ in self._find_logs()]

    def reopen_logs(self) -> None:
        """Have everybody write to the file that is at the log's path now, and make it if there is none."""
        logs = self.list_log_files()
        if not logs:
            logger.info("no log file to reopen")
        for log in logs:
            try:
                self.reopen_log(log)
            except PreforkError as error:
                logger.error("the log stays as it is: %s", error.message)  # noqa: TRY400 ours, no traceback
                continue
            logger.info("%s reopened", log.kind.replace("-", " "))

    def reopen_log(self, log: LogFile) -> None:
        """The same for one log. Raises `PreforkError`, and then everybody writes where they did."""
        config = next(config for each, config in self._find_logs() if each.is_same(log))
        fd = self._provider.reopen_log(log, config)
        self._pass_on_log(log, fd)
        os.close(fd)

    def _find_logs(self) -> list[tuple[LogFile, Config]]:
        in_use = [*self._provisions.values(), *([self._next] if self._next else [])]
        found = {
            (log.kind, log.path): (log, each.config)
            for each in in_use
            for log in each.logs()
            if log.is_file()
        }
        return list(found.values())

    def _pass_on_log(self, log: LogFile, fd: int) -> None:
        try:
            for child in self._children.all():
                if any(log.is_same(each) for each in self._provisions[child.gen].logs()):
                    self._children.send(child, say.ReopenLog(log.kind), fd)
            self._on_reopened(log, fd)
        except OSError as error:  # no descriptor left for a duplicate
            logger.error("not every process writes to the new log: %s", error.strerror)  # noqa: TRY400 no bug of ours

    def _adopt(self, gen: int) -> None:
        before, self.provision, self._rolling = self.provision, self._provisions[gen], None
        self._handing.choosing.adopt(is_new=self.provision is not before)
        self._handing.lobby.serve(self.provision.config)
        self._provider.put_in_force(self.provision, before)
        self._close_unused()

    def _needed(self) -> list[Provision]:
        return [each for each in (self.provision, self._rolling, self._next) if each is not None]

    def _close_unused(self) -> None:
        needed = self._needed()
        self._handing.listen({n: listener for each in needed for n, listener in each.listeners.items()})
        for number, name in self._provider.retain(needed).items():
            logger.info("not listening any more", extra={"address": name})
            for child in self._children.all():
                self._children.send(child, say.Unlisten(number))

    def _start_zygote(self, gen: int) -> None:
        self._provisions = {known: kept for known, kept in self._provisions.items() if self._is_known(known)}
        if not self._provisions:
            self._handing.choosing.begin(self.provision.config)
        if gen not in self._provisions:
            self._rolling, self._next = self._next, None
            self._provisions[gen] = self._rolling or self.provision
            self._handing.choosing.roll()
        provision = self._provisions[gen]
        self._handing.lobby.serve(provision.config)
        self._newest_listener.setdefault(gen, self._provider.last_number)
        spawned, self._head_start = self._head_start, None
        try:
            spawned = spawn_zygote(self._python) if spawned is None else spawned.take()
        except OSError as error:  # out of processes or descriptors: as if it had died at once
            why = f"cannot start {self._python}: {error.strerror}"
            self._ear.tell(why, (), "", gen)
            self.echoes.append(on.ZygoteExited(gen, why))
            return
        zygote = ZygoteHandle(gen, spawned.pid, spawned.channel)
        self._children.add_zygote(zygote, lambda: self._ear.read_zygote(zygote))
        try:
            # Until every slot has moved, the new workers accept for the old listeners too: nobody else might.
            for number, listener in {**self.provision.listeners, **provision.listeners}.items():
                self._children.send(zygote, say.Give("listener", number), listener.fileno())
            self._children.send(zygote, say.Give("scoreboard"), self._scoreboard.fd)
            if provision.log is not None:
                self._children.send(zygote, say.Give("log"), provision.log.fd)
            if provision.access_log is not None:
                self._children.send(zygote, say.Give("access-log"), provision.access_log.fd)
            if provision.credentials is not None:
                self._give_certificates(zygote, provision.credentials)
            # The password has done its work: no file and no message shall hold it.
            config = msgspec.structs.replace(provision.config, ssl_keyfile_password=None)
            if provision.metrics_dir:
                env = {**config.env, METRICS_DIR_VARIABLE: provision.metrics_dir}
                config = msgspec.structs.replace(config, env=env)
            self._children.send(zygote, say.Boot(gen, config))
        except OSError as error:  # no descriptor left for a duplicate; its exit follows
            logger.error("cannot boot a zygote: %s", error.strerror, extra={"gen": gen})  # noqa: TRY400 no bug of ours
            processes.send_signal(zygote.pid, None, signal.SIGKILL)

    def _give_certificates(self, zygote: ZygoteHandle, credentials: Credentials) -> None:
        fd = seal(credentials)
        try:
            self._children.send(zygote, say.Give("tls"), fd)
        finally:
            os.close(fd)

    def _fork_worker(self, action: do.ForkWorker) -> None:
        self.ledger.open_row(action.row)
        config = self._provisions[action.gen].config
        outlet = None
        try:
            outlet = None if config.balance == SHARED else open_handover()
            channel, theirs = open_pair()
            with theirs:
                if outlet is not None:  # first: once its fork is asked for, nothing may fail any more
                    channel.send(encode(say.HandOver()), outlet.theirs.fileno())
                fork = say.Fork(action.serial, action.slot, action.row, action.count)
                self._children.send(self._children.zygotes[action.gen], fork, theirs.fileno())
        except OSError as error:  # no descriptor left
            if outlet is not None:
                outlet.close()
            self.echoes.append(on.ForkRefused(action.serial, f"no channel for it: {error.strerror}"))
            return
        worker = WorkerHandle(action.serial, action.slot, action.gen, action.row, channel)
        self._children.add_worker(worker, lambda: self._ear.read_worker(worker))
        if outlet is not None:
            self._handing.seat(
                *(action.serial, action.slot, action.gen, action.row),
                newest_listener=self._newest_listener[action.gen],
                balance=config.balance,
                limit=config.limit_concurrency,
                outlet=outlet,
            )

    def _drain_worker(self, action: do.DrainWorker) -> None:
        if action.last:
            self._handing.finish()
        drain = say.Drain(action.reason, action.graceful_s, action.last)
        self._children.send(self._children.workers[action.serial], drain)

    def _forget_worker(self, serial: int) -> None:
        self._handing.unseat(serial)  # which reads its row for the last time
        if serial in self._children.workers:
            self.ledger.close_row(self._children.workers[serial].row)
        self._children.drop_worker(serial)

    def _tell_stall(self, worker: WorkerHandle, action: do.TellStall) -> None:
        extra: dict[str, object] = {"slot": worker.slot, "gen": worker.gen, "pid": worker.pid}
        extra["stalled_ms"] = round(action.stalled_s * 1000)
        if action.untold:
            extra["untold"] = action.untold
        extra["detail"] = worker.read_stacks(worker.asked_by_arbiter) or NO_STACKS
        logger.warning("worker is slow", extra=extra)

    def _kill_worker(self, worker: WorkerHandle, why: str) -> None:
        extra = {"slot": worker.slot, "gen": worker.gen, "pid": worker.pid, "why": why}
        stacks = worker.read_stacks(worker.asked_by_arbiter)
        logger.error("worker killed", extra=extra | {"detail": stacks or NO_STACKS})
        if worker.pid:
            processes.send_signal(worker.pid, worker.pidfd, signal.SIGKILL)
