"""What children say and how they end → events.

Workers run the app's code: whatever they say is a claim, and a child that speaks nonsense costs only itself.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator

import prefork
from prefork.config.model import Config
from prefork.core import events as on
from prefork.errors import AppError, ProtocolError
from prefork.ipc import messages as say
from prefork.master.children import Children, WorkerHandle, ZygoteHandle
from prefork.master.posting import Posting
from prefork.system import log_lines, processes
from prefork.system.scoreboard import Scoreboard

logger = logging.getLogger("prefork.master")

REASON_MAX = 80
READ_BYTES = 8192
"""How much is read of a worker in one turn of the loop: one that says much must not keep the others waiting."""
LAST_READ_BYTES = 1024 * 1024
"""All that a socket can hold."""


class Ear:
    """Reads every child. `has_served` says whether any worker was ever ready: until then what an app says when it
    fails is the start's error, and is kept in `boot_error` instead of logged.
    """

    def __init__(
        self,
        config: Config,
        children: Children,
        scoreboard: Scoreboard,
        posting: Posting,
        has_served: Callable[[], bool],
    ) -> None:
        self.app = say.Imported(where=config.app, interface=None, preloaded=False, why="", import_ms=0)
        """What the newest generation that imported said of the app."""
        self.boot_error: AppError | None = None
        self.failures: dict[int, AppError] = {}
        """What the newest generation that did not start said, by its number."""
        self._children = children
        self._scoreboard = scoreboard
        self._posting = posting
        self._has_served = has_served
        self._told: set[str] = set()

    def reap(self) -> Iterator[on.AnyEvent]:
        while (ended := processes.reap()) is not None:
            for zygote in list(self._children.zygotes.values()):
                if zygote.pid == ended.pid:
                    yield from self._bury_zygote(zygote, processes.describe_status(ended.status))
            for worker in list(self._children.workers.values()):  # adopted: its zygote died before it
                if worker.pid == ended.pid and not worker.is_reaped:
                    yield from self._bury_worker(worker, ended.status)

    def _bury_zygote(self, zygote: ZygoteHandle, how: str) -> Iterator[on.AnyEvent]:
        yield from self.read_zygote(zygote)  # its last words are still in the channel
        self._children.drop_zygote(zygote)
        yield on.ZygoteExited(zygote.gen, how)
        for worker in list(self._children.workers.values()):
            # It was reaped by the zygote, which died before it could say so.
            if worker.gen == zygote.gen and worker.pid and processes.is_gone(worker.pid, worker.pidfd):
                ended = processes.reap(worker.pid)
                yield from self._bury_worker(worker, ended.status if ended else None)

    def _bury_worker(self, worker: WorkerHandle, status: int | None) -> Iterator[on.AnyEvent]:
        if worker.is_reaped:
            return
        yield from self.read_worker(worker, LAST_READ_BYTES)  # its last words are still in the channel
        worker.is_reaped = True
        yield on.WorkerExited(
            serial=worker.serial,
            how=processes.describe_status(status),
            clean=status == 0,
            killed=processes.was_killed(status),
            # One that ended by itself has said what it cut.
            lost=0 if status == 0 else self._scoreboard.in_flight(worker.row),
            connections=0 if status == 0 else self._scoreboard.connections(worker.row),
        )

    def read_zygote(self, zygote: ZygoteHandle) -> Iterator[on.AnyEvent]:
        while data := zygote.channel.receive():
            yield from self._feed_zygote(zygote, data)
        if data is None and zygote.gen in self._children.zygotes:
            self._children.stop_reading(zygote)
            yield on.ZygoteDeaf(zygote.gen)

    def _feed_zygote(self, zygote: ZygoteHandle, data: bytes) -> Iterator[on.AnyEvent]:
        try:
            messages = zygote.reader.feed(data)
        except ProtocolError as error:
            logger.error("zygote misbehaved: %s", error.message, extra={"gen": zygote.gen})  # noqa: TRY400 theirs
            self._children.stop_reading(zygote)  # and told once, not for each part of what it still says
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
                if message.version != prefork.__version__:
                    extra |= {"prefork": message.version}
                logger.info("app imported" if message.preloaded else "app left to workers", extra=extra)
                yield on.ZygoteReady(zygote.gen)
            case say.ImportFailed():
                self.tell(message.message, message.hints, message.traceback, zygote.gen)
                yield on.ZygoteFailed(zygote.gen, message.message)
            case say.Forked():
                pidfd = zygote.channel.take_fd() if message.has_pidfd else None
                worker = self._children.workers.get(message.serial)
                if worker is None:
                    if pidfd is not None:
                        os.close(pidfd)
                    return
                worker.pid, worker.pidfd = message.pid, pidfd
                self._children.release(worker)
                yield on.WorkerForked(message.serial, message.pid)
            case say.ForkFailed():
                yield on.ForkRefused(message.serial, message.error)
            case say.Reaped():
                if worker := self._children.workers.get(message.serial):
                    yield from self._bury_worker(worker, message.status)

    def read_worker(self, worker: WorkerHandle, size: int = READ_BYTES) -> Iterator[on.AnyEvent]:
        if worker.channel.is_closed:
            return
        data = worker.channel.receive(size)
        if data is None:
            self._children.stop_reading(worker)
            yield on.WorkerDeaf(worker.serial)
            return
        if not data:
            return
        try:
            messages = worker.hear(data)
        except ProtocolError as error:
            self._children.stop_reading(worker)
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
                self.tell(message.message, message.hints, message.traceback, worker.gen)
                yield on.WorkerFailed(worker.serial, message.message)
            case say.Draining():
                yield on.WorkerDraining(worker.serial, _shorten(message.reason))
            case say.Retire():
                yield on.WorkerRetires(worker.serial, _shorten(message.reason))
            case say.Post():
                self._posting.take(worker, message)
            case say.Drained():
                if message.lost:
                    logger.warning(
                        "requests lost", extra={"slot": worker.slot, "gen": worker.gen, "lost": message.lost}
                    )

    def tell(self, message: str, hints: tuple[str, ...], traceback: str, gen: int) -> None:
        """Say once why an app does not start: four workers fail with the same words."""
        if gen not in self.failures:
            self.failures = {gen: AppError(message, *hints, traceback=traceback)}
        if not self._has_served():
            if self.boot_error is None:
                self.boot_error = AppError(message, *hints, traceback=traceback)
            return
        key = f"{gen} {message}"
        if key not in self._told:
            self._told.add(key)
            logger.error("app failed to start: %s", message, extra={"gen": gen, "detail": traceback})


def _shorten(reason: str) -> str:
    return log_lines.escape(reason)[:REASON_MAX]
