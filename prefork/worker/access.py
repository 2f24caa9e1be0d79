"""The access log of one worker, put together: where its lines go, which clocks it reads, how they look.

Imported by every worker; what it needs is loaded only when there is a log.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from prefork.system import clock
from prefork.worker.errand import Errand

if TYPE_CHECKING:
    from prefork.serve.access_log import AccessLog
    from prefork.system.line_writer import LineWriter


class Access(NamedTuple):
    """The log, and what has to hear when its descriptor leads elsewhere."""

    log: AccessLog
    writer: LineWriter


def import_access_log() -> None:
    """Only import what `open_access_log` will need."""
    import prefork.serve.access_log  # noqa: PLC0415
    import prefork.system.line_writer  # noqa: F401, PLC0415


def open_access_log(errand: Errand, loop: asyncio.AbstractEventLoop) -> Access | None:
    """None when there is none. In the worker itself: a line may tell its pid."""
    fd = errand.inherited.access_log_fd
    if fd is None:
        return None
    from prefork.serve.access_log import AccessLog  # noqa: PLC0415
    from prefork.system.line_writer import LineWriter  # noqa: PLC0415

    config = errand.boot.config
    writer = LineWriter(fd)
    log = AccessLog(
        config.access_log_format,
        as_json=config.log_format == "json",
        sink=writer,
        loop=loop,
        wall=clock.wall_s,
        timer=clock.fine_s,
    )
    return Access(log, writer)
