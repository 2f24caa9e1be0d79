"""The worker's life: boot, say READY, accept and beat until told to drain or to quit, say the last word, exit.

Never decides about other workers and never blocks the loop itself. Its loop thread is the app's loop thread: a beat
that stops means that the app holds the loop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from contextvars import copy_context
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import prefork
from prefork.config.balance import SHARED
from prefork.config.model import Config, Interface, LoopChoice
from prefork.errors import EXIT_APP, EXIT_OK, AppError, ProtocolError
from prefork.identity import Worker
from prefork.inside import app_side
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_worker
from prefork.ipc.foreign import describe_failure
from prefork.serve.app import LoadedApp, load_app
from prefork.serve.opening import import_service, open_service
from prefork.serve.service import Service
from prefork.serve.settings import settings_of
from prefork.system import clock, logs, processes, signals, titles
from prefork.system.channel import Channel
from prefork.system.fork_guard import ForkGuard
from prefork.system.scoreboard import CONNECTIONS, REQUESTS, SHED, Scoreboard
from prefork.worker.accepting import Acceptor
from prefork.worker.access import import_access_log, open_access_log
from prefork.worker.beating import Heart
from prefork.worker.errand import Errand
from prefork.worker.farewell import Farewell, leave_threads
from prefork.worker.herding import Herding
from prefork.worker.publishing import Publisher
from prefork.worker.recycling import Recycling
from prefork.worker.talking import Talker
from prefork.worker.welcoming import load_hooks, start_app

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls
    from prefork.worker.taking import Taker

logger = logging.getLogger("prefork.worker")

ORPHAN_DRAIN_S = 6.0
"""When the master is gone, nobody will take over and nobody holds a deadline but us."""
QUICK_SHUTDOWN_S = 1.0
QUICK_STOP_S = 1.25
"""From an order to quit to the exit: less than the master's patience with it."""
QUICK_HOOKS_S = 0.5
"""How much of that the app's shutdown hooks may take."""
HEAR_EVERY_S = 0.005
"""How often a loop that calls of the app's hold, one after the other, listens in between: it costs a system call."""
LAST_S = 0.1
"""For a step of the end that no time was left for."""
GC_THRESHOLD = 10_000
"""Container objects made, less those freed, before the collector looks at the young ones. With Python's own number it
looks many times a second at requests that are just being answered."""


class Prepared(NamedTuple):
    """What a worker can have before anybody knows which worker it will be."""

    app: LoadedApp
    loop: asyncio.AbstractEventLoop
    service: Service


def prepare(config: Config, app: LoadedApp, tls: Tls | None = None) -> Prepared:
    """Make the loop and open the service: the part of a boot that needs no slot and runs no code of the app's.
    Raises `AppError` as `make_loop` does.
    """
    loop = make_loop(config.loop)
    asyncio.set_event_loop(loop)
    return Prepared(app, loop, open_service(app.app, app.interface, settings_of(config), loop, tls))


def run_worker(errand: Errand, prepared: Prepared | None = None) -> int:
    """Serve until the end; returns the exit code."""
    born = clock.monotonic()
    channel = Channel(socket.socket(fileno=errand.channel_fd))
    identify(errand)
    write_fd = _offer_stacks(channel)
    guard = ForkGuard(errand.inherited.listener_fds.values)
    try:
        if prepared is None:
            config = errand.boot.config
            prepared = prepare(config, errand.app or _import_app(config), errand.tls)
        hooks = load_hooks(errand.boot.config, errand.fork.slot, app_side.starters)
        life = Life(errand, prepared, channel, born)
        guard.watch(life.list_listeners)
        code = prepared.loop.run_until_complete(life.live())
        _close_loop(prepared.loop, life.time_left())
        life.close_access_log()
        if hooks is not None:
            hooks.end()
        leave_threads(life.time_left(), code, life.who())
    except AppError as error:
        channel.send(encode(say.BootFailed(*describe_failure(error))))
        channel.flush()
        return EXIT_APP
    finally:
        os.close(write_fd)
        if errand.inherited.output is not None:
            errand.inherited.output.settle()
    return code


def identify(errand: Errand) -> None:
    """Tell the app and the process list which worker this is."""
    fork = errand.fork
    pid = processes.get_pid()
    # The import of the subpackage of the same name put a module there.
    prefork.worker = Worker(slot=fork.slot, generation=errand.boot.gen, pid=pid, count=fork.count)
    os.environ["PREFORK_WORKER_ID"] = str(fork.slot)
    logs.sign_lines({"slot": fork.slot, "gen": errand.boot.gen})
    if errand.inherited.output is not None:
        errand.inherited.output.sign(fork.slot, errand.boot.gen)
    show_state(errand, "booting")


def show_state(errand: Errand, state: str) -> None:
    """Put the worker's state into its process title."""
    titles.set_title(
        f"prefork: worker {errand.boot.config.name} slot={errand.fork.slot} gen={errand.boot.gen} {state}"
    )


def make_loop(choice: LoopChoice) -> asyncio.AbstractEventLoop:
    """Prefer uvloop, where it is installed and not declined. Raises `AppError` if it was asked for and is missing."""
    uvloop = _find_uvloop(choice)
    return asyncio.new_event_loop() if uvloop is None else uvloop.new_event_loop()


def _find_uvloop(choice: LoopChoice) -> ModuleType | None:
    if choice == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415 optional
    except ImportError:
        if choice == "uvloop":
            raise AppError("--loop uvloop: uvloop is not installed", "pip install uvloop") from None
        logger.info("no uvloop, using asyncio")
        return None
    return uvloop


def warm_up(config: Config, interface: Interface) -> None:
    """Import, once in the zygote, what every worker will need. Raises `AppError` as `make_loop` does."""
    _find_uvloop(config.loop)
    import_service(
        interface, settings_of(config), has_door=config.proxy_protocol or config.certfile is not None
    )
    if config.access_log is not None:
        import_access_log()


def reserve_s(graceful_s: float) -> float:
    """How much of the graceful time is kept for the app's own shutdown, after the last connection is cut."""
    return min(0.1 * graceful_s, QUICK_SHUTDOWN_S)


def _offer_stacks(channel: Channel) -> int:
    """Open the pipe that stacks are dumped into and give its other end to the master. Returns our end."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)  # a dump longer than the pipe is cut, never waited for
    signals.dump_stacks_into(write_fd)
    channel.send(encode(say.Stacks()), read_fd)
    os.close(read_fd)
    return write_fd


def _import_app(config: Config) -> LoadedApp:
    return load_app(config.app, factory=config.factory, interface=config.interface, app_dir=config.app_dir)


def _close_loop(loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=min(limit_s, QUICK_SHUTDOWN_S)))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class Life:
    """One worker between READY and its end. Everything here runs on the loop's thread."""

    def __init__(
        self,
        errand: Errand,
        prepared: Prepared,
        channel: Channel,
        born: float,
    ) -> None:
        self._errand = errand
        self._app, self._loop, self._service = prepared
        self._channel = channel
        self._born = born
        self._reader = read_from_master_as_worker()
        config = errand.boot.config
        board = Scoreboard(errand.inherited.scoreboard_fd)
        self._row = row = board.row(errand.fork.row)
        self._service.count_in(row[CONNECTIONS : REQUESTS + 1])
        self._access = open_access_log(errand, self._loop)
        if self._access is not None:
            self._service.log_access(self._access.log)
        self._publisher = Publisher(row, self._service.counters)
        self._herding = Herding(board, errand.fork.row, config.limit_concurrency)
        self._acceptor = Acceptor(
            *(self._loop, self._service, errand.inherited.listener_fds, self._herding),
            polls=config.balance == SHARED,
        )
        self._sheds = config.balance in {SHARED, "round-robin", "least-connections"}
        """Who is asked to leave comes to another worker; by another strategy it may come straight back."""
        self._taker: Taker | None = None
        """If the master accepts."""
        self._heart = Heart(self._loop, row, self._look_around)
        self._orders: asyncio.Queue[say.Drain | say.Quit] = asyncio.Queue()
        self._talker = Talker(self._loop, channel, self.who())
        self._recycling = Recycling(errand.boot.config, self._service.counters, self._talker.retire)
        self._farewell = Farewell(self._loop, self.who())
        self._context = copy_context()
        self._heard_at = 0.0
        self._gone_by = float("inf")
        """When this process shall have ended, in monotonic seconds."""

    async def live(self) -> int:
        """Boot, serve, drain. Returns the exit code; raises `AppError` if the app refuses to start."""
        loop = self._loop
        app_side.plug_in(self._talker)
        loop.add_reader(self._channel.fileno(), self._hear)
        self._service.hear_by(self._catch_up)
        loop.add_signal_handler(signal.SIGTERM, self._leave_alone, "SIGTERM")
        for number in (signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._orders.put_nowait, say.Quit())
        booting = loop.create_task(start_app(app_side.starters, self._service))
        order = loop.create_task(self._orders.get())
        await asyncio.wait({booting, order}, return_when=asyncio.FIRST_COMPLETED)
        if not booting.done():
            booting.cancel()
            await asyncio.wait({booting})
            return EXIT_OK
        booting.result()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
        self._heart.start()
        if self._errand.boot.config.wait_ready:
            waiting = loop.create_task(self._talker.wait_ready())
            await asyncio.wait({waiting, order}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        if not order.done():
            self._acceptor.start()
            show_state(self._errand, "ready")
            boot_ms = round((clock.monotonic() - self._born) * 1000)
            self._talker.announce(say.Ready(boot_ms, self._app.interface, self._app.where))
            self._recycling.start()
        await self._obey(await order)
        return EXIT_OK

    def close_access_log(self) -> None:
        """Write what is left of it; nothing is answered any more."""
        if self._access is not None:
            self._access.log.close()

    def list_listeners(self) -> list[int]:
        """The descriptors of the listeners that we have open, and of what comes from the master's."""
        return [*self._acceptor.list_fds(), *([self._taker.fileno()] if self._taker else [])]

    def time_left(self) -> float:
        """Seconds until this process shall have ended; never none at all."""
        return max(LAST_S, self._gone_by - clock.monotonic())

    async def _obey(self, order: say.Drain | say.Quit) -> None:
        """End as ordered; a second order while draining (the stop of the whole service, or a quick one) counts."""
        has_drained = isinstance(order, say.Drain) and await self._drain(order)
        self._acceptor.close()
        if self._taker is not None:
            self._taker.close()
        if isinstance(order, say.Quit):
            self._hurry("quick stop")
        lost = 0 if has_drained else self._service.cut()
        if lost:
            logger.warning("requests cut", extra=self.who() | {"lost": lost})
        await self._farewell.end()
        try:
            limit_s = self.time_left() if has_drained else min(self.time_left(), QUICK_SHUTDOWN_S)
            await asyncio.wait_for(self._service.shut_down(), limit_s)
        except asyncio.TimeoutError:
            logger.warning("the app's shutdown did not end", extra=self.who())
        self._heart.stop()
        self._publisher.publish()
        self._talker.flush()
        self._channel.send(encode(say.Drained(lost)))

    async def _drain(self, order: say.Drain) -> bool:
        """Answer what is open. False if that did not end in time, or a quick stop came between."""
        loop = self._loop
        show_state(self._errand, "draining")
        if self._taker is not None:
            self._taker.take_all()
        if order.last:
            self._acceptor.finish()
        else:
            self._acceptor.pause()
        self._channel.send(encode(say.Draining(order.reason)))
        self._service.drain()
        deadline = self._say_farewell(order)
        drained = loop.create_task(self._wait_drained())
        while not drained.done():
            again = loop.create_task(self._orders.get())
            await asyncio.wait(
                {drained, again},
                timeout=max(0.0, deadline - clock.monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not again.done():
                again.cancel()
                break
            newer = again.result()
            if isinstance(newer, say.Quit):
                self._hurry("quick stop")
                break
            if self._taker is not None:
                self._taker.take_all()
            if newer.last:
                self._acceptor.finish()
            deadline = min(deadline, self._say_farewell(newer))
        drained.cancel()
        return drained.done() and not drained.cancelled()

    async def _wait_drained(self) -> None:
        # First those that were accepted and are not connected yet: they do not count as open.
        await self._acceptor.wait_connected()
        await self._service.wait_drained()
        await self._farewell.wait()

    def _say_farewell(self, order: say.Drain) -> float:
        """Tell the app, and return when it has to be done, its own shutdown left out."""
        now = clock.monotonic()
        self._gone_by = min(self._gone_by, now + order.graceful_s)
        deadline = now + order.graceful_s - reserve_s(order.graceful_s)
        self._farewell.begin(app_side.hooks, order.reason, deadline)
        return deadline

    def _hurry(self, reason: str) -> None:
        now = clock.monotonic()
        self._gone_by = min(self._gone_by, now + QUICK_STOP_S)
        self._farewell.begin(app_side.hooks, reason, now + QUICK_HOOKS_S)

    def _look_around(self) -> None:
        surplus = self._herding.count_surplus() if self._sheds else 0
        self._row[SHED] = self._service.ask_to_leave(surplus)
        self._publisher.publish()
        self._talker.flush()
        self._recycling.check()

    def _hear(self) -> None:
        data = self._channel.receive()
        if data is None:
            self._loop.remove_reader(self._channel.fileno())
            self._orphaned()
            return
        try:
            messages = self._reader.feed(data)
        except ProtocolError:
            logger.exception("the master spoke nonsense")
            self._orphaned()
            return
        for message in messages:
            if isinstance(message, say.ReopenLog):
                fd = self._channel.take_fd()
                if fd is not None:
                    self._errand.inherited.reopen(message.what, fd)
                    if self._access is not None:
                        self._access.writer.look_again()
            elif isinstance(message, say.HandOver):
                from prefork.worker.taking import Taker  # noqa: PLC0415 only where the master accepts

                fd = self._channel.take_promised_fd()
                self._taker = Taker(self._loop, self._acceptor, self._row, fd)
            elif isinstance(message, say.Unlisten):
                self._acceptor.unlisten(message.number)
            elif isinstance(message, say.Deliver):
                self._loop.call_soon(self._talker.hear, message)  # never within a request of the app's
            elif isinstance(message, say.Drain | say.Quit):
                self._service.drain()
                self._orders.put_nowait(message)

    def _catch_up(self) -> None:
        """The app has held the loop: what did the master say meanwhile?"""
        now = clock.monotonic()
        if now - self._heard_at > HEAR_EVERY_S:
            self._heard_at = now
            self._context.run(self._hear)  # not in the context of a request

    def _orphaned(self) -> None:
        """EOF means the master died: drain, and let nobody linger on the port."""
        self._heard_at = float("inf")
        logger.error("the master is gone, draining", extra=self.who())
        # The loop may be about to hang in the app: a watchdog outside of the interpreter ends us then.
        signals.exit_after(ORPHAN_DRAIN_S + 1.0)
        self._orders.put_nowait(say.Drain("master gone", ORPHAN_DRAIN_S, last=True))

    def _leave_alone(self, reason: str) -> None:
        """A SIGTERM sent to this worker: drain, and have the master fill the slot meanwhile."""
        self._channel.send(encode(say.Draining(reason)))
        self._orders.put_nowait(say.Drain(reason, self._errand.boot.config.graceful_timeout_s, last=False))

    def who(self) -> dict[str, object]:
        """Which worker, for a log line."""
        return {"slot": self._errand.fork.slot, "gen": self._errand.boot.gen}
