"""The app's start hooks, then the app's own start-up: what a boot runs of the app's once it is a worker.

Here is the place for what a fork would not survive: an exporter's thread, a pool of connections. A hook that raises
fails the boot, as an import that raises does: a worker that is not what its app wants must not be sent traffic.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prefork.config.model import Config
from prefork.errors import AppError
from prefork.serve.service import Service

if TYPE_CHECKING:
    from prefork.worker.gunicorn_hooks import GunicornHooks


def load_hooks(config: Config, slot: int, starters: list[Callable[[], object]]) -> GunicornHooks | None:
    """Those of a gunicorn.conf.py, if the service goes by one: they begin before all `starters`. Raises `AppError`."""
    if not config.worker_hooks:
        return None
    from prefork.worker.gunicorn_hooks import GunicornHooks  # noqa: PLC0415  # few have any

    hooks = GunicornHooks(config, slot)
    starters.insert(0, hooks.begin)
    return hooks


async def start_app(hooks: Sequence[Callable[[], object]], service: Service) -> None:
    """Call the hooks one after the other, and start the service up. Raises `AppError`."""
    for hook in hooks:
        await _call(hook)
    await service.start_up()


async def _call(hook: Callable[[], object]) -> None:
    try:
        result = hook()
        if inspect.isawaitable(result):
            await result
    except (asyncio.CancelledError, GeneratorExit, AppError):
        raise
    # SystemExit too: it is not the hook's to say how the worker ends.
    except BaseException as error:  # noqa: BLE001
        from pathlib import Path  # noqa: PLC0415  # only who fails pays for it

        from prefork.serve.blame import find_blame  # noqa: PLC0415

        blame = find_blame(error, Path.cwd())
        name = getattr(hook, "__qualname__", None) or repr(hook)
        raise AppError(
            f"the on_worker_start hook {name} raised {blame.line}", traceback=blame.traceback
        ) from None
