"""The master's loop: wait → event → arbiter.handle → perform.

It never blocks and never waits inside an action: reload, stop and scale are states of the Arbiter. It decides
nothing; it turns what the kernel says into events (`hearing.py` has the children's part), and has the actions
performed (`performing.py`).
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec.json import encode as encode_json

from prefork.config.model import Config
from prefork.control.ring import Ring
from prefork.control.server import Connection, Server
from prefork.control.status import ServiceStatus
from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.arbiter import Arbiter
from prefork.core.figures import Summary
from prefork.core.rollout import count_moved
from prefork.core.states import ServiceState, WorkerState
from prefork.errors import AppError, PreforkError
from prefork.ipc import messages as say
from prefork.master.answering import Answering
from prefork.master.children import Children
from prefork.master.choosing import Choosing
from prefork.master.handing import Handing
from prefork.master.hearing import Ear
from prefork.master.informing import Informing
from prefork.master.performing import Performer
from prefork.master.policy import policy_of
from prefork.master.posting import Posting
from prefork.master.provisions import Provider, Provision
from prefork.master.reporting import Standing, report_service
from prefork.master.rereading import Reread, Rereading
from prefork.master.rotating import Rotating
from prefork.master.watching import Watching
from prefork.system import clock, processes, signals, titles
from prefork.system.listeners import Listener
from prefork.system.readiness import wait_ready
from prefork.system.scoreboard import Scoreboard
from prefork.system.spawning import Spawned

if TYPE_CHECKING:  # few services have it
    from prefork.master.notifying import Notifying

logger = logging.getLogger("prefork.master")

SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1,
    signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD,
)  # fmt: skip


class Master:
    """One service's master. `reread` gives the configuration anew for a reload, `on_serving` is called once,
    `head_start` becomes the first zygote.
    """

    def __init__(  # noqa: PLR0913  # made in one place, of parts that differ in tests
        self,
        provision: Provision,
        provider: Provider,
        scoreboard: Scoreboard,
        arbiter: Arbiter,
        *,
        reread: Reread,
        ring: Ring,
        on_serving: Callable[[Master], None],
        head_start: Spawned | None,
        python: str,
        make_notifying: Callable[[Master], Notifying] | None = None,
    ) -> None:
        self.arbiter = arbiter
        self.is_drained = False
        """An operator wants load balancers to look elsewhere."""
        self.refusal: PreforkError | None = None
        """What was wrong with the configuration when it was last read for a reload."""
        self._answering = Answering(self, ring)
        self._started_at, self._started = clock.wall_s(), clock.monotonic()
        self._scoreboard = scoreboard
        self._inbox = signals.SignalInbox(SIGNALS)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inbox, selectors.EVENT_READ, self._read_signals)
        self.children = Children(self._selector)
        self._server = Server(self._selector, os.environ)
        self._posting = Posting(self.children, self._is_ready)
        self._ear = Ear(
            provision.config, self.children, scoreboard, self._posting, lambda: arbiter.fleet.was_ready
        )
        self._handing = Handing(
            self._selector,
            scoreboard,
            self._find_state,
            Choosing(self._selector),
            is_running=self.children.is_running,
        )
        self._performer = Performer(
            provision,
            provider,
            scoreboard,
            self.children,
            self._ear,
            self._handing,
            is_known=lambda gen: gen in arbiter.fleet.gens,
            on_serving=lambda: on_serving(self),
            head_start=head_start,
            python=python,
        )
        self._rereading = Rereading(self._selector, reread, self._take_configuration)
        self._rotating = Rotating(self._performer.list_log_files, self._performer.reopen_log)
        self._watching = Watching(self._selector, self.read_configuration)
        self._informing = Informing(self._selector, lambda: encode_json(self.report()), python)
        self._notifying = make_notifying(self) if make_notifying else None
        self._pidfile = provision.config.pid
        self._title = ""

    @property
    def config(self) -> Config:
        """The one in force: what a reload brings counts once every slot has moved."""
        return self._performer.provision.config

    @property
    def listeners(self) -> list[Listener]:
        """What the service listens on."""
        return list(self._performer.provision.listeners.values())

    @property
    def app(self) -> say.Imported:
        """What the newest generation that imported said of the app."""
        return self._ear.app

    @property
    def boot_error(self) -> AppError | None:
        """Why the app could not be started, if it never was."""
        return self._ear.boot_error

    @property
    def exit(self) -> do.Exit | None:
        """How the service ended, once it has."""
        return self._performer.exit

    @property
    def control_path(self) -> str:
        """Of the control socket; empty if there is none."""
        return self._server.path

    def find_failure(self, gen: int) -> AppError | None:
        """What a generation's app said when it did not start."""
        return self._ear.failures.get(gen)

    def report(self) -> ServiceStatus:
        """The service now."""
        performer = self._performer
        standing = Standing(self._started_at, self._started, self.is_drained)
        return report_service(self.arbiter, performer.provision, performer.ledger, self.app, standing)

    def is_reloading(self) -> bool:
        """Is a reload under way, or waiting for something?"""
        return (
            self.arbiter.is_reloading()
            or self._rereading.is_waiting()
            or self._handing.choosing.has_reload_waiting()
        )

    def summarise(self) -> Summary:
        """What the workers have done, from the start until now."""
        return self._performer.ledger.summarise()

    def run(self) -> do.Exit:
        """Serve until stopped; returns how it ended."""
        self._server.open(self.config.name, self._answering)
        self._decide(on.Start())
        self._tend_helpers()
        while (end := self._performer.exit) is None:
            for event in self._wait_for_events():
                self._decide(event)
            self._tend_helpers()
            self._server.rename(self.config.name)
            for event in self._server.tend():  # last: whatever was done is told
                self._decide(event)
        self._server.close()
        self._rereading.end()
        self._watching.end()
        self._informing.end()
        if self._notifying is not None:
            self._notifying.end()
        self._inbox.close()
        self._selector.close()
        return end

    def _decide(self, event: on.AnyEvent) -> None:
        echoes = self._performer.echoes
        echoes.append(event)
        while echoes:
            actions = self.arbiter.handle(echoes.pop(0), clock.monotonic())
            # Deeds before words: a fork need not wait for the log.
            for action in sorted(actions, key=lambda action: isinstance(action, do.Report)):
                self._performer.perform(action)
        self._show_title()
        if self._notifying is not None:
            self._notifying.tend()

    def _tend_helpers(self) -> None:
        self._informing.tend(self._performer.provision)
        self._rotating.tend(self.config)
        # Not before the first worker is ready: what is edited until then has a newer time stamp than our start.
        is_serving = self.arbiter.fleet.was_ready and self.arbiter.state() is not ServiceState.STOPPING
        self._watching.tend(self.config, is_wanted=is_serving)
        if self._notifying is not None and self._notifying.deadline <= clock.monotonic():
            self._notifying.tend()

    # wait → events

    def _wait_for_events(self) -> Iterator[on.AnyEvent]:
        deadline = self.arbiter.next_deadline()
        next_ones = [
            each
            for each in (
                deadline,
                self._watching.deadline,
                self._informing.deadline,
                self._posting.next_deadline(),
                self._handing.next_deadline(),
                self._rereading.deadline,
                self._rotating.next_deadline(),
                None if self._notifying is None else self._notifying.deadline,
                self._server.next_deadline(),
            )
            if each is not None
        ]
        timeout = max(0.0, min(next_ones) - clock.monotonic()) if next_ones else None
        for key, mask in wait_ready(self._selector, timeout):
            if mask & selectors.EVENT_WRITE:
                talker = self._server if isinstance(key.fileobj, Connection) else self.children
                talker.flush(key.fileobj)
            if mask & selectors.EVENT_READ:
                yield from key.data()
        self._posting.deliver()
        yield from self._handing.tend()
        yield from self._rereading.tend()
        if deadline is not None and clock.monotonic() >= deadline:
            yield on.Woke(
                {
                    worker.serial: self._scoreboard.tick_s(worker.row)
                    for worker in self.children.workers.values()
                }
            )

    def _is_ready(self, serial: int) -> bool:
        return self._find_state(serial) is WorkerState.READY

    def _find_state(self, serial: int) -> WorkerState | None:
        worker = self.arbiter.fleet.workers.get(serial)
        return None if worker is None else worker.state

    def _read_signals(self) -> Iterator[on.AnyEvent]:
        for number in self._inbox.take():
            name = signal.Signals(number).name
            match number:
                case signal.SIGTERM:
                    yield on.StopAsked(quick=False, reason=name)
                case signal.SIGINT | signal.SIGQUIT:
                    yield on.StopAsked(quick=True, reason=name)
                case signal.SIGHUP:
                    yield from self.read_configuration()
                case signal.SIGTTIN:
                    yield on.ScaleAsked(1)
                case signal.SIGTTOU:
                    yield on.ScaleAsked(-1)
                case signal.SIGWINCH:
                    if not processes.is_in_terminal_foreground():  # else its window changed its size, no more
                        yield on.ParkAsked()
                case signal.SIGUSR1:
                    self._performer.reopen_logs()
                case signal.SIGCHLD:
                    yield from self._ear.reap()

    def read_configuration(self) -> Iterator[on.AnyEvent]:
        """Read it anew, for a reload. What is wrong with it is in `refusal` then."""
        self.refusal = None
        if self.arbiter.state() is ServiceState.STOPPING:
            logger.warning("reload ignored", extra={"reason": "stopping"})
            self.refusal = PreforkError("the service is stopping")
            return
        self._watching.note_reading()
        if self._notifying is not None:
            self._notifying.note_reload()
        yield from self._rereading.begin()

    def _take_configuration(self, read: Callable[[], Config]) -> Iterator[on.AnyEvent]:
        try:
            config = read()
        except PreforkError as error:
            yield self._refuse(error)
            return
        yield from self._handing.choosing.load(config, lambda: self._reload(config))

    def _reload(self, config: Config) -> Iterator[on.AnyEvent]:
        if self.arbiter.state() is ServiceState.STOPPING:  # while code of the user's was run
            return
        try:
            self._performer.prepare(config)
        except PreforkError as error:
            yield self._refuse(error)
            return
        if config.pid != self._pidfile:
            logger.warning("the pidfile stays until a restart", extra={"pid_file": self._pidfile or "none"})
        yield on.ReloadAsked(policy_of(config))

    def _refuse(self, error: PreforkError) -> on.ReloadRefused:
        hints = "\n".join(f"  {hint}" for hint in error.hints)
        logger.error("reload refused: %s", error.message, extra={"detail": hints})
        self.refusal = error
        return on.ReloadRefused(error.message)

    def _show_title(self) -> None:
        fleet = self.arbiter.fleet
        gen, state = fleet.base_gen, self.arbiter.state().value
        if fleet.rollout is not None:
            gen, state = fleet.rollout.gen, f"rolling {count_moved(fleet)}/{fleet.target}"
        title = f"prefork: master {self.config.name} gen={gen} ({state})"
        if title != self._title:
            self._title = title
            titles.set_title(title)
