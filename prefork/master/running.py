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

import prefork
from prefork.config.addresses import parse_address
from prefork.config.model import Config
from prefork.core.arbiter import Arbiter
from prefork.errors import EXIT_APP, AppError, ConfigError
from prefork.master.banner import show_banner
from prefork.master.loop import Master
from prefork.master.policy import policy_of
from prefork.system import chance, logs, pidfile, privileges, processes, titles
from prefork.system.listeners import Listener, bind_listener
from prefork.system.scoreboard import ROWS, make_scoreboard
from prefork.system.spawning import Spawned

logger = logging.getLogger("prefork.master")


def run_master(config: Config, reread: Callable[[], Config], spare: Spawned | None = None) -> int:
    """Serve until stopped; returns the exit code. Raises `PreforkError` for whatever keeps the service from starting.

    `reread` gives the configuration anew for a reload, and raises `PreforkError` if it has become invalid.
    `spare` is an interpreter started beforehand; it becomes the first zygote.
    """
    if config.workers > ROWS // 2:
        raise ConfigError(f"workers: {config.workers} is more than {ROWS // 2}")
    identity = privileges.find_identity(config.user, config.group)
    with ExitStack() as undo:
        log_fd = logs.open_log(config.log_file)
        if log_fd is not None and identity is not None and os.geteuid() == 0:
            os.fchown(log_fd, identity.uid, identity.gid)
        logs.set_up_logging(config.log_level, config.log_format, logs.STDERR if log_fd is None else log_fd)
        if config.umask is not None:
            os.umask(config.umask)
        if config.pid is not None:
            undo.callback(pidfile.write_pidfile(config.pid).remove)
        owner = None if identity is None else (identity.uid, identity.gid)
        listeners: list[Listener] = []
        for text in config.bind:
            listener = bind_listener(
                parse_address(text), backlog=config.backlog, socket_mode=config.socket_mode, owner=owner
            )
            listeners.append(listener)
            undo.callback(listener.close)
        titles.set_title(f"prefork: master {config.name} starting")
        processes.become_subreaper()
        _say_hello(config, listeners)
        master = Master(
            config,
            listeners,
            make_scoreboard(),
            Arbiter(policy_of(config), chance.draw, ROWS),
            reread=reread,
            log_fd=log_fd,
            on_serving=show_banner,
            spare=spare,
        )
        end = master.run()
    if end.code == EXIT_APP:
        raise master.boot_error or AppError(
            f"cannot serve {config.app}: {end.why}", _say_where_the_log_is(config)
        )
    logger.info("stopped")
    return end.code


def _say_where_the_log_is(config: Config) -> str:
    return f"{config.log_file} has more" if config.log_file not in {None, "-"} else "the log above has more"


def _say_hello(config: Config, listeners: list[Listener]) -> None:
    logger.info(
        "starting prefork",
        extra={
            "version": prefork.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "workers_wanted": config.workers,
            "why": config.workers_why or "as asked",
        },
    )
    for listener in listeners:
        logger.info("listening", extra={"address": listener.name()})
