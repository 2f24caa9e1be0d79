"""The master's loop: wait → event → arbiter.handle → perform.

It never blocks and never waits inside an action: reload, stop and scale are states of the Arbiter. It decides
nothing; it turns what the kernel says into events, and actions into system calls.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Callable, Iterator

from prefork.config.model import Config
from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.arbiter import Arbiter
from prefork.core.rollout import count_moved
from prefork.errors import AppError, PreforkError, ProtocolError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode
from prefork.master.children import WorkerHandle, ZygoteHandle
from prefork.master.policy import policy_of
from prefork.system import clock, logs, processes, signals, titles
from prefork.system.channel import open_pair
from prefork.system.listeners import Listener
from prefork.system.scoreboard import Scoreboard
from prefork.system.spawning import Spawned, spawn_zygote

logger = logging.getLogger("prefork.master")

SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1,
    signal.SIGUSR2, signal.SIGCHLD,
)  # fmt: skip
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Master:
    """One service's master. `reread` gives the configuration anew for a reload, `on_serving` is called once, `spare`
    becomes the first zygote.
    """

    def __init__(  # noqa: PLR0913  # made in one place, of parts that differ in tests
        self,
        config: Config,
        listeners: list[Listener],
        scoreboard: Scoreboard,
        arbiter: Arbiter,
        *,
        reread: Callable[[], Config],
        log_fd: int | None,
        on_serving: Callable[[Master], None],
        spare: Spawned | None,
    ) -> None:
        self.config = config
        self.listeners = listeners
        self.arbiter = arbiter
        self.app = say.Imported(where=config.app, interface=None, preloaded=False, why="", import_ms=0)
        """What the newest generation that imported said of the app."""
        self.boot_error: AppError | None = None
        """Why the app could not be started, if it never was."""
        self._configs: dict[int, Config] = {}
        self._zygotes: dict[int, ZygoteHandle] = {}
        self._workers: dict[int, WorkerHandle] = {}
        self._scoreboard = scoreboard
        self._reread = reread
        self._log_fd = log_fd
        self._on_serving = on_serving
        self._spare = spare
        self._inbox = signals.SignalInbox(SIGNALS)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inbox, selectors.EVENT_READ, self._read_signals)
        self._told: set[str] = set()
        self._echoes: list[on.AnyEvent] = []
        """What performing actions made happen."""
        self._exit_code: int | None = None
        self.exit_why = ""
        self._title = ""

    def run(self) -> int:
        """Serve until stopped; returns the exit code."""
        self._decide(on.Start())
        while (code := self._exit_code) is None:
            for event in self._wait_for_events():
                self._decide(event)
        self._inbox.close()
        self._selector.close()
        return code

    def _decide(self, event: on.AnyEvent) -> None:
        self._echoes.append(event)
        while self._echoes:
            actions = self.arbiter.handle(self._echoes.pop(0), clock.monotonic())
            # Deeds before words: a fork need not wait for the log.
            for action in sorted(actions, key=lambda action: isinstance(action, do.Report)):
                self._perform(action)
        self._show_title()

    # wait → events

    def _wait_for_events(self) -> Iterator[on.AnyEvent]:
        deadline = self.arbiter.next_deadline()
        timeout = None if deadline is None else max(0.0, deadline - clock.monotonic())
        ready = self._selector.select(timeout)
        for key, mask in ready:
            if mask & selectors.EVENT_WRITE:
                self._flush(key.fileobj)
            if mask & selectors.EVENT_READ:
                yield from key.data()
        if deadline is not None and clock.monotonic() >= deadline:
            yield on.Woke(
                {worker.serial: self._scoreboard.tick_s(worker.row) for worker in self._workers.values()}
            )

    def _read_signals(self) -> Iterator[on.AnyEvent]:
        for number in self._inbox.take():
            name = signal.Signals(number).name
            match number:
                case signal.SIGTERM:
                    yield on.StopAsked(quick=False, reason=name)
                case signal.SIGINT | signal.SIGQUIT:
                    yield on.StopAsked(quick=True, reason=name)
                case signal.SIGHUP:
                    yield from self._read_configuration()
                case signal.SIGTTIN:
                    yield on.ScaleAsked(1)
                case signal.SIGTTOU:
                    yield on.ScaleAsked(-1)
                case signal.SIGUSR1:
                    self._reopen_log()
                case signal.SIGCHLD:
                    yield from self._reap()

    def _read_configuration(self) -> Iterator[on.AnyEvent]:
        try:
            config = self._reread()
        except PreforkError as error:
            logger.error("reload refused, the configuration is invalid: %s", error.message)  # noqa: TRY400 ours, no traceback
            return
        if config.bind != self.config.bind:
            logger.warning(
                "the addresses stay as they are until a restart", extra={"bind": " ".join(self.config.bind)}
            )
        self.config = config
        yield on.ReloadAsked(policy_of(config))

    def _reap(self) -> Iterator[on.AnyEvent]:
        while (ended := processes.reap()) is not None:
            for zygote in list(self._zygotes.values()):
                if zygote.pid == ended.pid:
                    yield from self._bury_zygote(zygote, processes.describe_status(ended.status))
            for worker in list(self._workers.values()):  # adopted: its zygote died before it
                if worker.pid == ended.pid and not worker.is_reaped:
                    yield from self._bury_worker(worker, ended.status)

    def _bury_zygote(self, zygote: ZygoteHandle, how: str) -> Iterator[on.AnyEvent]:
        yield from self._read_zygote(zygote)  # its last words are still in the channel
        self._close_zygote(zygote)
        yield on.ZygoteExited(zygote.gen, how)
        for worker in list(self._workers.values()):
            # It was reaped by the zygote, which died before it could say so.
            if worker.gen == zygote.gen and worker.pid and processes.is_gone(worker.pid, worker.pidfd):
                ended = processes.reap(worker.pid)
                yield from self._bury_worker(worker, ended.status if ended else None)

    def _bury_worker(self, worker: WorkerHandle, status: int | None) -> Iterator[on.AnyEvent]:
        if worker.is_reaped:
            return
        yield from self._read_worker(worker)  # its last words are still in the channel
        worker.is_reaped = True
        yield on.WorkerExited(
            serial=worker.serial,
            how=processes.describe_status(status),
            clean=status == 0,
            killed=processes.was_killed(status),
        )

    def _read_zygote(self, zygote: ZygoteHandle) -> Iterator[on.AnyEvent]:
        while data := zygote.channel.receive():
            yield from self._feed_zygote(zygote, data)
        if data is None and zygote.gen in self._zygotes:
            self._stop_reading(zygote)
            yield on.ZygoteDeaf(zygote.gen)

    def _feed_zygote(self, zygote: ZygoteHandle, data: bytes) -> Iterator[on.AnyEvent]:
        try:
            messages = zygote.reader.feed(data)
        except ProtocolError as error:
            logger.error("zygote misbehaved: %s", error.message, extra={"gen": zygote.gen})  # noqa: TRY400 theirs
            self._stop_reading(zygote)  # and told once, not for each part of what it still says
            zygote.channel.close()
            processes.send_signal(zygote.pid, None, signal.SIGKILL)
            return
        for message in messages:
            yield from self._hear_zygote(zygote, message)

    def _hear_zygote(self, zygote: ZygoteHandle, message: say.ZygoteToMaster) -> Iterator[on.AnyEvent]:
        match message:
            case say.Imported():
                self.app = message
                extra = {
                    "gen": zygote.gen,
                    "app": message.where,
                    "preloaded": "yes" if message.preloaded else "no",
                }
                if message.interface:
                    extra |= {"interface": message.interface, "import_ms": message.import_ms}
                if message.why:
                    extra |= {"why": message.why}
                logger.info("app imported" if message.preloaded else "app left to workers", extra=extra)
                yield on.ZygoteReady(zygote.gen)
            case say.ImportFailed():
                self._tell(message.message, message.hints, message.traceback, zygote.gen)
                yield on.ZygoteFailed(zygote.gen, message.message)
            case say.Forked():
                pidfd = zygote.channel.take_fd() if message.has_pidfd else None
                worker = self._workers.get(message.serial)
                if worker is None:
                    if pidfd is not None:
                        os.close(pidfd)
                    return
                worker.pid, worker.pidfd = message.pid, pidfd
                yield on.WorkerForked(message.serial, message.pid)
            case say.ForkFailed():
                yield on.ForkRefused(message.serial, message.error)
            case say.Reaped():
                if worker := self._workers.get(message.serial):
                    yield from self._bury_worker(worker, message.status)

    def _read_worker(self, worker: WorkerHandle) -> Iterator[on.AnyEvent]:
        if worker.channel.is_closed:
            return
        if not worker.pid and (zygote := self._zygotes.get(worker.gen)):
            yield from self._read_zygote(zygote)  # which pid it has was said before whatever it says itself
        data = worker.channel.receive()
        if data is None:
            self._stop_reading(worker)
            yield on.WorkerDeaf(worker.serial)
            return
        if not data:
            return
        try:
            messages = worker.hear(data)
        except ProtocolError as error:
            self._stop_reading(worker)
            yield on.WorkerMisbehaved(worker.serial, f"it misbehaved on its channel: {error.message}")
            return
        for message in messages:
            yield from self._hear_worker(worker, message)

    def _hear_worker(self, worker: WorkerHandle, message: say.WorkerToMaster) -> Iterator[on.AnyEvent]:
        match message:
            case say.Stacks():
                if (fd := worker.channel.take_fd()) is not None:
                    if worker.stacks_fd is not None:
                        os.close(worker.stacks_fd)
                    worker.stacks_fd = fd
            case say.Ready():
                if not self.app.interface:
                    self.app = say.Imported(
                        message.where, message.interface, False, self.app.why, message.boot_ms
                    )
                    logger.info("app imported", extra={"app": message.where, "interface": message.interface})
                yield on.WorkerReady(worker.serial, message.boot_ms)
            case say.BootFailed():
                self._tell(message.message, message.hints, message.traceback, worker.gen)
                yield on.WorkerFailed(worker.serial, message.message)
            case say.Draining():
                yield on.WorkerDraining(worker.serial, logs.escape(message.reason)[:80])
            case say.Drained():
                if message.lost:
                    logger.warning(
                        "requests lost", extra={"slot": worker.slot, "gen": worker.gen, "lost": message.lost}
                    )

    def _tell(self, message: str, hints: tuple[str, ...], traceback: str, gen: int) -> None:
        """Say once why an app does not start: four workers fail with the same words."""
        if not self.arbiter.fleet.was_ready:
            if self.boot_error is None:
                self.boot_error = AppError(message, *hints, traceback=traceback)
            return
        key = f"{gen} {message}"
        if key not in self._told:
            self._told.add(key)
            logger.error("app failed to start: %s", message, extra={"gen": gen, "detail": traceback})

    # actions → system calls

    def _perform(self, action: do.Action) -> None:
        match action:
            case do.StartZygote():
                self._start_zygote(action.gen)
            case do.DismissZygote():
                if zygote := self._zygotes.get(action.gen):
                    self._send(zygote, say.Leave())
            case do.KillZygote():
                if zygote := self._zygotes.get(action.gen):
                    processes.send_signal(zygote.pid, None, signal.SIGKILL)
            case do.ForkWorker():
                self._fork_worker(action)
            case do.DrainWorker():
                self._send(
                    self._workers[action.serial], say.Drain(action.reason, action.graceful_s, action.last)
                )
            case do.QuitWorker():
                self._send(self._workers[action.serial], say.Quit())
            case do.DumpStacks():
                worker = self._workers[action.serial]
                if worker.pid and worker.stacks_fd is not None:
                    processes.send_signal(worker.pid, worker.pidfd, signals.DUMP_STACKS)
            case do.KillWorker():
                self._kill_worker(self._workers[action.serial], action.why)
            case do.ForgetWorker():
                if action.serial in self._workers:  # else its fork never left the master
                    worker = self._workers.pop(action.serial)
                    self._stop_reading(worker)
                    worker.close()
            case do.CloseListeners():
                for listener in self.listeners:
                    listener.close()
            case do.Report():
                logger.log(LEVELS[action.level], action.event, extra=action.fields)
                if action.event in {"serving", "reloaded"}:
                    processes.give_back_memory()
                if action.event == "serving":
                    self._on_serving(self)
            case do.Exit():
                self._exit_code, self.exit_why = action.code, action.why
            case _:
                raise AssertionError(f"unknown action {action!r}")

    def _start_zygote(self, gen: int) -> None:
        config = self._configs.setdefault(gen, self.config)
        self._configs = {
            known: kept for known, kept in self._configs.items() if known in self.arbiter.fleet.gens
        }
        spawned, self._spare = self._spare, None
        try:
            spawned = spawn_zygote() if spawned is None else spawned.take()
        except OSError as error:  # out of processes or descriptors: as if it had died at once
            why = f"cannot start an interpreter: {error.strerror}"
            self._tell(why, (), "", gen)
            self._echoes.append(on.ZygoteExited(gen, why))
            return
        zygote = ZygoteHandle(gen, spawned.pid, spawned.channel)
        self._zygotes[gen] = zygote
        self._selector.register(zygote.channel, selectors.EVENT_READ, lambda: self._read_zygote(zygote))
        try:
            for listener in self.listeners:
                self._send(zygote, say.Give("listener"), listener.fileno())
            self._send(zygote, say.Give("scoreboard"), self._scoreboard.fd)
            if self._log_fd is not None:
                self._send(zygote, say.Give("log"), self._log_fd)
            self._send(zygote, say.Boot(gen, config))
        except OSError as error:  # no descriptor left for a duplicate; its exit follows
            logger.error("cannot boot a zygote: %s", error.strerror, extra={"gen": gen})  # noqa: TRY400 no bug of ours
            processes.send_signal(zygote.pid, None, signal.SIGKILL)

    def _fork_worker(self, action: do.ForkWorker) -> None:
        try:
            channel, theirs = open_pair()
            with theirs:
                fork = say.Fork(action.serial, action.slot, action.row, action.count)
                self._send(self._zygotes[action.gen], fork, theirs.fileno())
        except OSError as error:  # no descriptor left
            self._echoes.append(on.ForkRefused(action.serial, f"no channel for it: {error.strerror}"))
            return
        worker = WorkerHandle(action.serial, action.slot, action.gen, action.row, channel)
        self._workers[action.serial] = worker
        self._scoreboard.clear_row(action.row)
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._read_worker(worker))

    def _kill_worker(self, worker: WorkerHandle, why: str) -> None:
        extra = {"slot": worker.slot, "gen": worker.gen, "pid": worker.pid, "why": why}
        stacks = worker.take_stacks()
        logger.error(
            "worker killed", extra=extra | {"detail": stacks or "no stacks: it did not run to write them"}
        )
        if worker.pid:
            processes.send_signal(worker.pid, worker.pidfd, signal.SIGKILL)

    def _reopen_log(self) -> None:
        if self._log_fd is None:
            logger.info("no log file to reopen")
            return
        try:
            fd = logs.open_log(self.config.log_file)
        except PreforkError as error:
            logger.error("the log stays as it is: %s", error.message)  # noqa: TRY400 ours, no traceback
            return
        if fd is None:
            return
        os.dup2(fd, self._log_fd, inheritable=False)
        os.close(fd)
        try:
            for child in self._children():
                self._send(child, say.ReopenLog(), self._log_fd)
        except OSError as error:  # no descriptor left for a duplicate
            logger.error("not every process writes to the new log: %s", error.strerror)  # noqa: TRY400 no bug of ours
            return
        logger.info("log reopened")

    # channels

    def _children(self) -> list[ZygoteHandle | WorkerHandle]:
        return [*self._zygotes.values(), *self._workers.values()]

    def _send(self, child: ZygoteHandle | WorkerHandle, message: say.Message, fd: int | None = None) -> None:
        child.channel.send(encode(message), fd)
        if child.channel.has_unsent():
            self._watch(child.channel, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _flush(self, channel: object) -> None:
        for child in self._children():
            if child.channel is channel:
                child.channel.flush()
                if not child.channel.has_unsent():
                    self._watch(child.channel, selectors.EVENT_READ)

    def _watch(self, channel: object, mask: int) -> None:
        key = self._selector.get_map().get(channel)  # type: ignore[call-overload] # typeshed wants a FileDescriptor
        if key is not None:
            self._selector.modify(key.fileobj, mask, key.data)

    def _stop_reading(self, child: ZygoteHandle | WorkerHandle) -> None:
        if not child.channel.is_closed and child.channel in self._selector.get_map():
            self._selector.unregister(child.channel)

    def _close_zygote(self, zygote: ZygoteHandle) -> None:
        self._stop_reading(zygote)
        zygote.channel.close()
        if self._zygotes.get(zygote.gen) is zygote:
            del self._zygotes[zygote.gen]

    def _show_title(self) -> None:
        fleet = self.arbiter.fleet
        gen, state = fleet.base_gen, self.arbiter.state().value
        if fleet.rollout is not None:
            gen, state = fleet.rollout.gen, f"rolling {count_moved(fleet)}/{fleet.target}"
        title = f"prefork: master {self.config.name} gen={gen} ({state})"
        if title != self._title:
            self._title = title
            titles.set_title(title)
