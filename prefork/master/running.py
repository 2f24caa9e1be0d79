"""From a configuration to a running service: everything that can be refused is refused here, before any fork.

The order matters: what needs root (addresses, log, pidfile) comes first, and each step that fails undoes the ones
before it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import prefork
from prefork.config.model import Config
from prefork.control.ring import Ring
from prefork.core.arbiter import Arbiter
from prefork.errors import EXIT_APP, AppError
from prefork.master.banner import show_banner
from prefork.master.choosing import check_strategy
from prefork.master.loop import Master
from prefork.master.policy import policy_of
from prefork.master.provisions import Provider, Provision, check, read_certificates
from prefork.master.rereading import Reread
from prefork.system import chance, interpreter, logs, pidfile, processes, titles
from prefork.system.scoreboard import ROWS, make_scoreboard
from prefork.system.spawning import Spawned

if TYPE_CHECKING:
    from prefork.master.notifying import Notifying

NOTIFY_SOCKET = "NOTIFY_SOCKET"

logger = logging.getLogger("prefork.master")


def run_master(
    config: Config,
    reread: Reread,
    head_start: Spawned | None = None,
    on_serving: Callable[[Master], None] | None = None,
) -> int:
    """Serve until stopped; returns the exit code. Raises `PreforkError` for whatever keeps the service from starting.

    `reread` gives the configuration anew for a reload, and raises `PreforkError` if it has become invalid.
    `head_start` is an interpreter started beforehand; it becomes the first zygote. `on_serving` is called once, in
    place of showing the banner.
    """
    check(config)
    check_strategy(config)
    with ExitStack() as undo:
        provider = Provider()
        ring = Ring()
        logging.getLogger("prefork").addHandler(ring)
        undo.callback(logging.getLogger("prefork").removeHandler, ring)
        undo.callback(provider.close)
        log, access_log = provider.open_logs(config)
        fd = logs.STDERR if log is None else log.fd
        logs.set_up_logging(config.log_level, config.log_format, fd, config.log_time)
        if config.pid is not None:
            undo.callback(_claim_pidfile(config.pid, config.umask).remove)
        provision = Provision(
            *(config, provider.bind(config), log, access_log, read_certificates(config)),
            admin=provider.bind_admin(config),
            metrics_dir=provider.find_metrics_dir(config),
        )
        titles.set_title(f"prefork: master {config.name} starting")
        processes.become_subreaper()
        _say_hello(provision)
        master = Master(
            provision,
            provider,
            make_scoreboard(),
            Arbiter(policy_of(config), chance.draw, ROWS),
            reread=reread,
            ring=ring,
            on_serving=on_serving or show_banner,
            head_start=head_start,
            python=interpreter.find_python(os.environ),
            make_notifying=_find_manager(),
        )
        end = master.run()
    if end.code == EXIT_APP:
        raise master.boot_error or AppError(
            f"cannot serve {config.app}: {end.why}", _say_where_the_log_is(config)
        )
    logger.info("stopped")
    return end.code


def _find_manager() -> Callable[[Master], Notifying] | None:
    if not os.environ.get(NOTIFY_SOCKET):
        return None
    from prefork.master.notifying import Notifying  # noqa: PLC0415  # few services have it
    from prefork.system.notify import find_manager, find_watchdog_s  # noqa: PLC0415

    address = os.environ[NOTIFY_SOCKET]
    try:
        manager = find_manager(address)
    except OSError as error:
        why = error.strerror or str(error)
        logger.warning("the service manager is not told", extra={"notify_socket": address, "why": why})
        return None
    return partial(Notifying, manager, find_watchdog_s(os.environ, os.getpid()))


def _say_where_the_log_is(config: Config) -> str:
    return f"{config.log_file} has more" if config.log_file not in {None, "-"} else "the log above has more"


def _claim_pidfile(path: str, umask: int | None) -> pidfile.Pidfile:
    if umask is None:
        return pidfile.write_pidfile(path)
    # Only while we write: a generation whose configuration has none shall have the one we were started with.
    inherited = os.umask(umask)
    try:
        return pidfile.write_pidfile(path)
    finally:
        os.umask(inherited)


def _say_hello(provision: Provision) -> None:
    config = provision.config
    logger.info(
        "starting prefork",
        extra={
            "version": prefork.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "workers_wanted": config.workers,
            "why": config.workers_why or "as asked",
        },
    )
    for listener in provision.listeners.values():
        logger.info("listening", extra=listener.describe())
    for what, listener in provision.name_admin():
        logger.info("%s listening", what, extra=listener.describe())
