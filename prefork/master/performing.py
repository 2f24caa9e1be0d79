"""Actions → system calls: one function for each action of the Arbiter's, and what generations are given.

It never decides and never waits. What an action makes happen at once (a fork that could not be asked for) is an event
again: `echoes`.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from prefork.config.model import Config
from prefork.core import actions as do
from prefork.core import events as on
from prefork.ipc import messages as say
from prefork.master.children import Children, WorkerHandle, ZygoteHandle
from prefork.master.hearing import Ear
from prefork.system import processes, signals
from prefork.system.channel import open_pair
from prefork.system.listeners import Listener
from prefork.system.scoreboard import Scoreboard
from prefork.system.spawning import Spawned, spawn_zygote

logger = logging.getLogger("prefork.master")

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Performer:
    """One master's hands. `config` is the newest; a generation keeps the one it was started with for as
    long as it `is_known`. `spare` becomes the first zygote.
    """

    def __init__(  # noqa: PLR0913  # made in one place
        self,
        config: Config,
        listeners: list[Listener],
        scoreboard: Scoreboard,
        children: Children,
        ear: Ear,
        *,
        log_fd: int | None,
        is_known: Callable[[int], bool],
        on_serving: Callable[[], None],
        spare: Spawned | None,
    ) -> None:
        self.config = config
        self.listeners = listeners
        self.log_fd = log_fd
        self.echoes: list[on.AnyEvent] = []
        """What performing actions made happen."""
        self.exit: do.Exit | None = None
        self._configs: dict[int, Config] = {}
        self._scoreboard = scoreboard
        self._children = children
        self._ear = ear
        self._is_known = is_known
        self._on_serving = on_serving
        self._spare = spare

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
                self._children.send(
                    self._children.workers[action.serial],
                    say.Drain(action.reason, action.graceful_s, action.last),
                )
            case do.QuitWorker():
                self._children.send(self._children.workers[action.serial], say.Quit())
            case do.DumpStacks():
                worker = self._children.workers[action.serial]
                if worker.pid and worker.stacks_fd is not None:
                    processes.send_signal(worker.pid, worker.pidfd, signals.DUMP_STACKS)
            case do.KillWorker():
                self._kill_worker(self._children.workers[action.serial], action.why)
            case do.ForgetWorker():
                self._children.drop_worker(action.serial)
            case do.AdoptConfiguration():
                pass
            case do.CloseListeners():
                for listener in self.listeners:
                    listener.close()
            case do.Report():
                logger.log(LEVELS[action.level], action.event, extra=action.fields)
                if action.event in {"serving", "reloaded"}:
                    processes.give_back_memory()
                if action.event == "serving":
                    self._on_serving()
            case do.Exit():
                self.exit = action
            case _:
                raise AssertionError(f"unknown action {action!r}")

    def _start_zygote(self, gen: int) -> None:
        self._configs = {known: kept for known, kept in self._configs.items() if self._is_known(known)}
        config = self._configs.setdefault(gen, self.config)
        spawned, self._spare = self._spare, None
        try:
            spawned = spawn_zygote() if spawned is None else spawned.take()
        except OSError as error:  # out of processes or descriptors: as if it had died at once
            why = f"cannot start an interpreter: {error.strerror}"
            self._ear.tell(why, (), "", gen)
            self.echoes.append(on.ZygoteExited(gen, why))
            return
        zygote = ZygoteHandle(gen, spawned.pid, spawned.channel)
        self._children.add_zygote(zygote, lambda: self._ear.read_zygote(zygote))
        try:
            for listener in self.listeners:
                self._children.send(zygote, say.Give("listener"), listener.fileno())
            self._children.send(zygote, say.Give("scoreboard"), self._scoreboard.fd)
            if self.log_fd is not None:
                self._children.send(zygote, say.Give("log"), self.log_fd)
            self._children.send(zygote, say.Boot(gen, config))
        except OSError as error:  # no descriptor left for a duplicate; its exit follows
            logger.error("cannot boot a zygote: %s", error.strerror, extra={"gen": gen})  # noqa: TRY400 no bug of ours
            processes.send_signal(zygote.pid, None, signal.SIGKILL)

    def _fork_worker(self, action: do.ForkWorker) -> None:
        try:
            channel, theirs = open_pair()
            with theirs:
                fork = say.Fork(action.serial, action.slot, action.row, action.count)
                self._children.send(self._children.zygotes[action.gen], fork, theirs.fileno())
        except OSError as error:  # no descriptor left
            self.echoes.append(on.ForkRefused(action.serial, f"no channel for it: {error.strerror}"))
            return
        worker = WorkerHandle(action.serial, action.slot, action.gen, action.row, channel)
        self._scoreboard.clear_row(action.row)
        self._children.add_worker(worker, lambda: self._ear.read_worker(worker))

    def _kill_worker(self, worker: WorkerHandle, why: str) -> None:
        extra = {"slot": worker.slot, "gen": worker.gen, "pid": worker.pid, "why": why}
        stacks = worker.take_stacks()
        logger.error(
            "worker killed", extra=extra | {"detail": stacks or "no stacks: it did not run to write them"}
        )
        if worker.pid:
            processes.send_signal(worker.pid, worker.pidfd, signal.SIGKILL)
