"""A worker between READY and its end: accept and beat until told to drain or to quit, say the last word.

Never decides about other workers and never blocks the loop itself. Its loop thread is the app's loop thread: a beat
that stops means that the app holds the loop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from contextvars import copy_context
from typing import TYPE_CHECKING

from prefork.config.balance import SHARED
from prefork.errors import EXIT_OK, ProtocolError
from prefork.inside import app_side
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_worker
from prefork.system import clock, signals, titles
from prefork.system.channel import Channel
from prefork.system.scoreboard import CONNECTIONS, REQUESTS, SHED, Scoreboard
from prefork.worker.accepting import Acceptor
from prefork.worker.access import open_access_log
from prefork.worker.beating import Heart
from prefork.worker.errand import Errand
from prefork.worker.farewell import Farewell
from prefork.worker.herding import Herding
from prefork.worker.preparing import Prepared
from prefork.worker.publishing import Publisher
from prefork.worker.recycling import Recycling
from prefork.worker.talking import Talker
from prefork.worker.welcoming import start_app

if TYPE_CHECKING:
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


def show_state(errand: Errand, state: str) -> None:
    """Put the worker's state into its process title."""
    titles.set_title(
        f"prefork: worker {errand.boot.config.name} slot={errand.fork.slot} gen={errand.boot.gen} {state}"
    )


def reserve_s(graceful_s: float) -> float:
    """How much of the graceful time is kept for the app's own shutdown, after the last connection is cut."""
    return min(0.1 * graceful_s, QUICK_SHUTDOWN_S)
