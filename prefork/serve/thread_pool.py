"""Threads that call a WSGI app, one call each.

Made for this: a fixed number of daemon threads, one queue, no futures. It must never be waited for without a
deadline: an app that hangs in a thread must not keep its worker from ending.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

LAST_JOIN_S = 0.1


class ThreadPool:
    """`size` threads, started when first needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[[], None]) -> None:
        """Run `call`, which never raises, on the next free thread."""
        self._calls.put(call)
        if len(self._threads) < self._size:
            number = len(self._threads)
            thread = threading.Thread(target=self._work, name=f"prefork-wsgi-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End the threads that are idle; one still inside the app is left to die with the process."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(LAST_JOIN_S)

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            call()
            del call  # its request must not live on until the next one comes
