"""The admin process, as the master sees it: it is given listeners, asks how the service is, and is told.

The master speaks no HTTP, reads no /proc and no metrics: all that is that process's. It never waits for it, and
`keeping.py` keeps it alive. It is asked no more often than ten times a second, whatever clients do there.
"""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from prefork.core import events as on
from prefork.ipc import messages as say
from prefork.ipc.codec import Reader, encode, read_from_admin
from prefork.master.keeping import Helper, Keeper
from prefork.master.provisions import LogFile, Provision, find_users_metrics_dir
from prefork.system.listeners import Listener
from prefork.system.spawning import Spawned, spawn_admin

logger = logging.getLogger("prefork.master")

SILENCE_S = 6.0
"""It speaks every two seconds: one that does not is stopped or stuck."""


class Order(NamedTuple):
    """What an admin process is started for."""

    listeners: tuple[Listener, ...]
    words: say.ServeAdmin
    log: LogFile | None
    """None: it writes to standard error."""


AdminHelper = Helper[say.AdminToMaster, Order]


class Informing:
    """Has one admin process, or none. `report` gives the service's status, encoded."""

    what = "admin process"
    silence_s: float | None = SILENCE_S

    def __init__(self, selector: selectors.BaseSelector, report: Callable[[], bytes], python: str) -> None:
        self._report = report
        self._python = python
        self._keeper: Keeper[say.AdminToMaster, Order] = Keeper(selector, self)
        self._provision: Provision | None = None
        self._order: Order | None = None
        """What the admin process of that provision is told."""
        self._told: set[str] = set()

    @property
    def deadline(self) -> float | None:
        """When `tend` has something to do although nothing happens."""
        return self._keeper.deadline

    def tend(self, provision: Provision) -> None:
        """Have an admin process for what is in force, or none. For every turn of the loop."""
        if provision is not self._provision:
            self._provision, self._order = provision, make_order(provision)
        self._keeper.tend(self._order)

    def pass_on_log(self, log: LogFile, fd: int) -> None:
        """A log was reopened: if its lines go there, they go to `fd` now. Raises OSError: no descriptor left."""
        helper = self._keeper.helper
        if helper is not None and helper.order.log is not None and log.is_same(helper.order.log):
            helper.channel.send(encode(say.ReopenLog(log.kind)), fd)

    def end(self) -> None:
        """The service has ended."""
        self._keeper.end()

    # the keeper's owner

    def spawn(self) -> Spawned:
        return spawn_admin(self._python)

    def make_reader(self) -> Reader[say.AdminToMaster]:
        return read_from_admin()

    def give_order(self, helper: AdminHelper) -> None:
        if (log := helper.order.log) is not None:
            helper.channel.send(encode(say.ReopenLog(log.kind)), log.fd)
        for listener in helper.order.listeners:
            helper.channel.send(encode(say.GiveAdminListener()), listener.fileno())
        helper.channel.send(encode(helper.order.words))

    def hear(self, helper: AdminHelper, messages: list[say.AdminToMaster]) -> Iterator[on.AnyEvent]:
        if any(isinstance(message, say.AskStanding) for message in messages):
            helper.channel.send(encode(say.Standing(msgspec.Raw(self._report()))))
        for message in messages:
            if isinstance(message, say.AdminNote) and message.why not in self._told:
                self._told.add(message.why)
                logger.warning(message.event, extra={"why": message.why})
        yield from ()


def make_order(provision: Provision) -> Order | None:
    """What the admin process of this provision is told; None if there is none."""
    config = provision.config
    if not provision.admin:
        return None
    words = say.ServeAdmin(
        name=config.name,
        metrics_dir=provision.metrics_dir or find_users_metrics_dir(config),
        is_metrics_dir_ours=bool(provision.metrics_dir),
        agents=len(config.agent_check),
        chdir=config.chdir,
        log_format=config.log_format,
        log_time=config.log_time,
        user=config.user,
        group=config.group,
    )
    return Order(provision.admin, words, provision.log)
