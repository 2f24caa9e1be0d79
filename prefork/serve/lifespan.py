"""The ASGI lifespan: the app's own start-up and shutdown, and the state it shares with every request.

Semantics are "auto": an app that raises before it says anything does not speak lifespan, and is served without.
An app that says `startup.failed`, is not. It must never let what the app raises at shutdown out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from prefork.errors import AppError
from prefork.serve.blame import find_blame

logger = logging.getLogger("prefork.worker")

LAST_WORDS_S = 0.5
"""An app that said that its startup failed has so long to raise what failed."""

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class Lifespan:
    """One run of the lifespan protocol, in a task of its own for as long as the worker serves."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._started: asyncio.Future[None] = loop.create_future()
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._failure: AppError | None = None
        self.state: dict[str, Any] = {}
        """What the app put into `scope["state"]`; each request gets a shallow copy."""

    async def start_up(self) -> None:
        """Return when the app is ready, or does not speak lifespan. Raises `AppError` when it refuses."""
        self._task = self._loop.create_task(self._run())
        self._to_app.put_nowait({"type": "lifespan.startup"})
        await self._started
        if self._failure is not None:
            raise self._failure

    async def shut_down(self) -> None:
        """Tell the app, wait for it to be done; log what it raises."""
        if self._task is None or self._task.done():
            return
        self._to_app.put_nowait({"type": "lifespan.shutdown"})
        await self._stopped

    async def _run(self) -> None:
        scope: dict[str, Any] = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._to_app.get, self._receive_from_app)
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError) and not self._started.done():
                self._started.cancel()
                raise
            self._note_failure(exc)
            if isinstance(exc, asyncio.CancelledError | GeneratorExit):
                raise
        finally:
            for waiting in (self._started, self._stopped):
                if not waiting.done():
                    waiting.set_result(None)

    def _settle(self) -> None:
        if not self._started.done():
            self._started.set_result(None)

    def _note_failure(self, exc: BaseException) -> None:
        if not self._started.done():
            if self._failure is None:
                logger.debug("the app does not speak lifespan (%s: %s)", type(exc).__name__, exc)
            elif not isinstance(exc, asyncio.CancelledError | GeneratorExit):
                self._failure.traceback = find_blame(exc, Path.cwd()).traceback or self._failure.traceback
        elif not isinstance(exc, asyncio.CancelledError | GeneratorExit) and not self._stopped.done():
            logger.error("the app's lifespan raised", exc_info=exc)

    async def _receive_from_app(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self._started.done():
            self._started.set_result(None)
        elif kind == "lifespan.startup.failed" and not self._started.done():
            # Starlette and others put their whole traceback here: its last line says what it was.
            said = str(message.get("message") or "it did not say why").strip()
            told = said if "\n" in said else ""
            self._failure = AppError(f"the app's startup failed: {said.splitlines()[-1]}", traceback=told)
            # What it raises next says where; but it need not raise, nor end.
            self._loop.call_later(LAST_WORDS_S, self._settle)
        elif kind == "lifespan.shutdown.complete" and not self._stopped.done():
            self._stopped.set_result(None)
        elif kind == "lifespan.shutdown.failed" and not self._stopped.done():
            logger.error("the app's shutdown failed: %s", message.get("message", ""))
            self._stopped.set_result(None)
        else:
            raise RuntimeError(f"unexpected lifespan message {kind!r}")
