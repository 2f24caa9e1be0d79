"""Tells the service manager how the service is; what it needs to hear, and when, is for `core/notices.py` to say.

In the master's own loop and nowhere else, so that a watchdog notices a master that hangs. A manager that is gone or
does not read is tried again and again, and the service serves on. Loaded only where NOTIFY_SOCKET is set.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefork.core.notices import Facts, Figures, Notices
from prefork.core.records import NEVER
from prefork.core.states import ServiceState, WorkerState
from prefork.master.reporting import count_min_ready
from prefork.system import clock, processes
from prefork.system.notify import Manager

if TYPE_CHECKING:
    from prefork.master.loop import Master

logger = logging.getLogger("prefork.master")

RETRY_S = 1.0
STOP_GRACE_S = 15.0
"""A stop may take so much longer than its delay and its graceful time: to kill and reap who has not gone."""


class Notifying:
    """One master's reports to one manager."""

    def __init__(self, manager: Manager, watchdog_s: float, master: Master) -> None:
        self.deadline = clock.monotonic()
        """When `tend` has something to do although nothing happens."""
        self._manager = manager
        self._master = master
        self._notices = Notices(self.deadline, processes.get_pid(), watchdog_s)
        self._was_deaf = False

    def note_reload(self) -> None:
        """A reload was asked for."""
        self._notices.note_reload()

    def tend(self) -> None:
        """Tell whatever is due: after each event, and at the deadline."""
        now = clock.monotonic()
        facts = self._gather()
        figures = None
        if self._notices.wants_figures(now):
            summary = self._master.summarise()
            figures = Figures(summary.totals.requests, summary.in_flight)
        try:
            for notice in self._notices.list_due(facts, now, figures):
                self._manager.tell(notice.text)
        except OSError as error:
            self._note_deaf(error)
            self.deadline = now + RETRY_S
        else:
            self.deadline = self._notices.next_deadline(facts, now)

    def end(self) -> None:
        """The service has ended; STOPPING was its last word."""
        self._manager.close()

    def _gather(self) -> Facts:
        master, arbiter = self._master, self._master.arbiter
        fleet, state = arbiter.fleet, arbiter.state()
        match state:
            case ServiceState.STARTING:
                patience_s = fleet.policy.boot_timeout_s
            case ServiceState.STOPPING:
                patience_s = fleet.policy.shutdown_delay_s + fleet.policy.graceful_timeout_s + STOP_GRACE_S
            case _:
                patience_s = NEVER  # a reload fails by itself if it takes too long
        ready = sum(1 for worker in fleet.workers.values() if worker.state is WorkerState.READY)
        return Facts(
            state,
            is_ready=ready >= count_min_ready(master.config, fleet),
            is_reloading=master.is_reloading(),
            ready=ready,
            workers=len(fleet.workers),
            wanted=fleet.target,
            patience_s=patience_s,
        )

    def _note_deaf(self, error: OSError) -> None:
        if not self._was_deaf:
            self._was_deaf = True
            extra = {"notify_socket": self._manager.name, "why": error.strerror or str(error)}
            logger.warning("the service manager does not listen", extra=extra)
