"""What is answered, path by path: an ASGI app, behind the same HTTP that serves the users' apps.

Only GET and HEAD, only what is listed at `/`. Health is answered at once; what takes time (metrics, the processes'
memory) is made on one thread beside the loop, once for everybody who wants it at the same moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from prefork.admin.app_metrics import AppMetrics
from prefork.admin.asking import Asking
from prefork.admin.exposition import CONTENT_TYPES, END, Format, choose_format, render
from prefork.admin.families import list_families
from prefork.admin.readiness import explain_unready
from prefork.admin.tree import Tree
from prefork.control.status import ServiceStatus
from prefork.ipc.messages import ServeAdmin

logger = logging.getLogger("prefork.admin")

Scope = MutableMapping[str, Any]
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
INDEX = """\
/livez        200 while the master answers
/readyz       200 while load balancers shall send traffic here; else 503, and why
/status.json  the service, its workers and its processes
/metrics      for Prometheus: OpenMetrics, or its classic format
"""
SILENT = "the master does not answer\n"
FOLD_EVERY_S = 30.0
"""What workers that are gone have left is put together so often, though nobody asks."""


class Answer(NamedTuple):
    """One response."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Pages:
    """The app. Owned by the loop's thread, but for `_make_…`, which run on the other one, one at a time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, asking: Asking, tree: Tree, order: ServeAdmin
    ) -> None:
        self._loop = loop
        self._asking = asking
        self._tree = tree
        self._app_metrics = AppMetrics(order.metrics_dir, is_ours=order.is_metrics_dir_ours)
        self._executor = ThreadPoolExecutor(1, "pages")
        self._made: dict[str, tuple[ServiceStatus, asyncio.Future[bytes]]] = {}
        self._shows: dict[str, Callable[[ServiceStatus, Scope], Awaitable[Answer]]] = {
            "/livez": self._show_life,
            "/readyz": self._show_readiness,
            "/status.json": self._show_status,
            "/metrics": self._show_metrics,
        }
        self._fold_later()

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],  # noqa: ARG002  # ASGI's signature
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            raise ValueError("only HTTP is spoken here")  # a WebSocket is refused, a lifespan is not wanted
        answer = await self._answer(scope)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"cache-control", b"no-store"),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope) -> Answer:
        path = scope["path"]
        show = self._shows.get(path)
        if show is None and path != "/":
            return Answer(404, f"no such page; there are\n{INDEX}".encode())
        if scope["method"] not in {"GET", "HEAD"}:
            return Answer(405, b"only GET and HEAD\n", headers=((b"allow", b"GET, HEAD"),))
        if show is None:
            return Answer(200, INDEX.encode())
        status = await self._asking.ask()
        return Answer(503, SILENT.encode()) if status is None else await show(status, scope)

    async def _show_life(self, _status: ServiceStatus, _scope: Scope) -> Answer:
        return Answer(200, b"alive\n")

    async def _show_readiness(self, status: ServiceStatus, _scope: Scope) -> Answer:
        why = explain_unready(status)
        return Answer(503 if why else 200, f"{why or 'ready'}\n".encode())

    async def _show_status(self, status: ServiceStatus, _scope: Scope) -> Answer:
        return Answer(200, await self._make("status", status, self._make_status), JSON)

    async def _show_metrics(self, status: ServiceStatus, scope: Scope) -> Answer:
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"").decode("latin-1")
        form = choose_format(accept)
        body = await self._make(form, status, lambda status: self._make_metrics(status, form))
        return Answer(200, body, CONTENT_TYPES[form], ((b"vary", b"accept"),))

    async def _make(self, what: str, status: ServiceStatus, make: Callable[[ServiceStatus], bytes]) -> bytes:
        """On the other thread; once for each status."""
        made = self._made.get(what)
        if made is None or made[0] is not status:
            future = asyncio.ensure_future(self._loop.run_in_executor(self._executor, make, status))
            made = self._made[what] = (status, future)
        return await asyncio.shield(made[1])

    def _make_status(self, status: ServiceStatus) -> bytes:
        told = msgspec.to_builtins(status)
        told["processes"] = [process._asdict() for process in self._tree.read(status).list]
        return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"

    def _make_metrics(self, status: ServiceStatus, form: Format) -> bytes:
        processes = self._tree.read(status)
        families = list_families(status, processes)
        ours = {family.name for family in families}
        self._app_metrics.note(processes.list)
        theirs = self._app_metrics.render(form, ours)
        self._say_trouble()
        return (render(families, form) + theirs + (END if form == "openmetrics" else "")).encode()

    def _say_trouble(self) -> None:
        if self._app_metrics.trouble:
            note = self._asking.note
            self._loop.call_soon_threadsafe(note, "the app's metrics are left out", self._app_metrics.trouble)

    def _fold_later(self) -> None:
        self._loop.call_later(FOLD_EVERY_S, self._fold)

    def _fold(self) -> None:
        future = self._loop.run_in_executor(self._executor, self._app_metrics.fold)
        future.add_done_callback(lambda _future: self._fold_later())
