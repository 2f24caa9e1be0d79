"""The app's shutdown hooks: told once why and until when, whatever they do about it.

A hook must never keep its worker from ending in time, nor keep another hook from being told.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable

from prefork.system import clock, processes

logger = logging.getLogger("prefork.worker")

LAST_WORDS_S = 0.3
"""Before the master would kill us, to say which threads we leave behind."""
CANCEL_S = 0.05
"""How long a hook that was cancelled may take to notice."""


class Farewell:
    """One worker's hooks. Everything here runs on the loop's thread. `who`: added to its log lines."""

    def __init__(self, loop: asyncio.AbstractEventLoop, who: dict[str, object]) -> None:
        self._loop = loop
        self._who = who
        self._running: dict[asyncio.Task[None], str] = {}
        self._has_begun = False
        self._is_over = False
        self._deadline = 0.0

    def begin(self, hooks: Iterable[Callable[[str, float], object]], reason: str, deadline: float) -> None:
        """Call every hook: a plain one is done when this returns, an async one has become a task. Twice is fine."""
        self._deadline = min(self._deadline, deadline) if self._has_begun else deadline
        if self._has_begun:
            return
        self._has_begun = True
        for hook in hooks:
            name = getattr(hook, "__qualname__", None) or repr(hook)
            try:
                result = hook(reason, deadline)
            # SystemExit too: it is not the hook's to say how the worker ends.
            except BaseException as error:  # noqa: BLE001
                self._log_fault(name, error)
                continue
            if inspect.isawaitable(result):
                task = self._loop.create_task(self._finish(result, name))
                self._running[task] = name
                task.add_done_callback(self._running.pop)

    async def wait(self) -> None:
        """Return when the last hook has ended. The caller holds the deadline and may cancel."""
        while self._running:
            await asyncio.wait(tuple(self._running))

    async def end(self) -> None:
        """Return when the last hook has ended, or was cancelled because its time was over."""
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=max(0.0, self._deadline - clock.monotonic()))
        self._is_over = True
        for task, name in tuple(self._running.items()):
            logger.warning("shutdown hook cancelled, its time was over", extra=self._who | {"hook": name})
            task.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=CANCEL_S)

    async def _finish(self, result: Awaitable[object], name: str) -> None:
        try:
            await result
        except GeneratorExit:  # the loop was closed under us
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._is_over:
                raise
            self._log_fault(name, error)

    def _log_fault(self, name: str, error: BaseException) -> None:
        logger.error("shutdown hook raised", extra=self._who | {"hook": name}, exc_info=error)


def leave_threads(limit_s: float, code: int, who: dict[str, object]) -> None:
    """The interpreter waits at its end for the app's threads that are no daemons: see that it does so for no longer
    than `limit_s`, and then exit with `code` all the same.
    """
    if not _list_staying():
        return

    def leave() -> None:
        ended.wait(max(0.0, limit_s - LAST_WORDS_S))
        names = ", ".join(_list_staying())
        logger.warning("threads of the app's did not end", extra=who | {"threads": names})
        processes.exit_now(code)

    ended = threading.Event()  # nobody sets it: it only waits as a daemon may
    threading.Thread(target=leave, name="prefork-leave", daemon=True).start()


def _list_staying() -> list[str]:
    return [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
