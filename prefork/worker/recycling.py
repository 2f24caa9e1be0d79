"""When has a worker served long enough? Looked at with each beat, never with a request.

It only asks: the master has a successor ready before it tells this worker to drain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from prefork.config.model import Config
from prefork.config.values import resolve_share
from prefork.serve.service import Counters
from prefork.system import chance, clock, memory

logger = logging.getLogger("prefork.worker")

MEASURE_EVERY_S = 5.0
"""How often at most the page tables are walked; only a worker whose resident memory is above its limit pays for it."""
AGE_JITTER = 0.1
"""Workers that were started together are not as old as each other: up to this share is added to each one's limit."""


class Recycling:
    """One worker's limits, jitter drawn once. `retire` is given the reason, once."""

    def __init__(self, config: Config, counters: Counters, retire: Callable[[str], object]) -> None:
        self._counters = counters
        self._retire = retire
        self._most_requests = 0
        if config.max_requests:
            jitter = resolve_share(config.max_requests_jitter, config.max_requests)
            self._most_requests = config.max_requests + int(chance.draw() * (jitter + 1))
        self._most_bytes = config.max_memory_bytes
        self._most_s = config.max_age_s * (1 + AGE_JITTER * chance.draw())
        self._ready_at: float | None = None
        self._measured_at = -MEASURE_EVERY_S

    def start(self) -> None:
        """The worker is ready: its age counts from here."""
        self._ready_at = clock.monotonic()

    def check(self) -> None:
        """At each beat: ask to be replaced if it is time."""
        if self._ready_at is not None and (reason := self._find_reason(clock.monotonic(), self._ready_at)):
            self._ready_at = None
            self._retire(reason)

    def _find_reason(self, now: float, ready_at: float) -> str:
        if self._most_requests and self._counters.requests >= self._most_requests:
            return "max-requests"
        if self._most_s and now >= ready_at + self._most_s:
            return "max-age"
        if self._most_bytes and now >= self._measured_at + MEASURE_EVERY_S:
            try:
                return self._weigh(now)
            except OSError as error:
                logger.warning("max-memory is not watched, memory cannot be read", extra={"why": str(error)})
                self._most_bytes = 0
        return ""

    def _weigh(self, now: float) -> str:
        if memory.read_resident() <= self._most_bytes:
            return ""
        self._measured_at = now
        own = memory.read_own()
        if own <= self._most_bytes:
            return ""
        return f"max-memory {_in_megabytes(own)} of {_in_megabytes(self._most_bytes)}"


def _in_megabytes(size: int) -> str:
    return f"{size / 2**20:.0f}M"
