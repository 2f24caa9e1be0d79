"""What can be done before anybody knows which worker this will be: the loop, the service, the imports.

No code of the app's runs here, but for the import where each worker does its own.
"""

from __future__ import annotations

import asyncio
import logging
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from prefork.config.model import Config, Interface, LoopChoice
from prefork.errors import AppError
from prefork.serve.app import LoadedApp, load_app
from prefork.serve.opening import import_service, open_service
from prefork.serve.service import Service
from prefork.serve.settings import settings_of
from prefork.worker.access import import_access_log

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls

logger = logging.getLogger("prefork.worker")


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


def import_app(config: Config) -> LoadedApp:
    """Raises `AppError`."""
    return load_app(config.app, factory=config.factory, interface=config.interface, app_dir=config.app_dir)
