"""What the master opens for a configuration, its listeners and its log, and for how long it keeps that.

Opened when the configuration is read: what cannot be opened refuses the reload, before anything has changed. What two
configurations have in common is opened once, and kept: a listener that stays never stops listening.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Literal

import msgspec

from prefork.config.addresses import parse_address
from prefork.config.model import Config
from prefork.errors import ConfigError, PreforkError
from prefork.system import certificates, logs, privileges, rotation
from prefork.system.certificates import Credentials
from prefork.system.listeners import Listener, bind_listener
from prefork.system.metrics_dir import MetricsDir, make_metrics_dir
from prefork.system.scoreboard import ROWS

logger = logging.getLogger("prefork.master")

ADMIN_BACKLOG = 128
METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads it when it is imported, and keeps its values in files there."""
Owner = tuple[int, int] | None
"""(uid, gid) of what is made for the workers; None: us."""


class LogFile(msgspec.Struct, frozen=True, eq=False):
    """A log, open for appending. The descriptor stays when it is reopened."""

    kind: Literal["log", "access-log"]
    path: str
    """`-`: standard output."""
    fd: int

    def is_file(self) -> bool:
        """Does it have a path to be reopened under?"""
        return self.path != logs.STANDARD_STREAM

    def is_same(self, other: LogFile) -> bool:
        """Of the same kind, at the same path?"""
        return (self.kind, self.path) == (other.kind, other.path)

    def is_in_place(self) -> bool:
        """Does its path still lead to it? It may have been rotated, or a directory above it turned round."""
        return not self.is_file() or rotation.is_at(self.path, self.fd)


class Provision(msgspec.Struct, frozen=True, eq=False):
    """A configuration with everything that is open for it."""

    config: Config
    listeners: Mapping[int, Listener]
    """By number: given in the order of binding, never given twice."""
    log: LogFile | None
    """None: standard error."""
    access_log: LogFile | None
    """None: there is none."""
    credentials: Credentials | None = None
    """What its certificate files held when it was read; None: no TLS."""
    admin: tuple[Listener, ...] = ()
    """Where the admin process answers: HTTP, and at those of `agent_check`, the last ones, HAProxy's agents."""
    metrics_dir: str = ""
    """Made by us, for what the app's processes keep of their metrics; empty: there is none, or the user named one."""

    def logs(self) -> list[LogFile]:
        """Those that are open for it."""
        return [each for each in (self.log, self.access_log) if each is not None]

    def name_admin(self) -> list[tuple[str, Listener]]:
        """Each listener of the admin process, with what speaks there."""
        agents_from = len(self.admin) - len(self.config.agent_check)
        return [
            ("agent-check" if number >= agents_from else "admin", listener)
            for number, listener in enumerate(self.admin)
        ]

    def log_fd(self) -> int:
        """Where its processes log to."""
        return logs.STDERR if self.log is None else self.log.fd


class Provider:
    """Owns all that is open. `provide` opens, `retain` closes what nobody needs any more."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._logs: list[LogFile] = []
        self._admin: list[Listener] = []
        self._metrics_dirs: dict[Owner, MetricsDir] = {}
        """Kept to the end: workers of an old configuration may still use theirs."""
        self.last_number = 0
        """The newest listener's."""

    def provide(self, config: Config) -> Provision:
        """Everything for this configuration, or nothing. Raises `PreforkError`, as the start does."""
        check(config)
        with ExitStack() as undo:
            known, logs_before, admin_before = dict(self._listeners), list(self._logs), list(self._admin)
            undo.callback(self._close_all_but, known, logs_before, admin_before)
            credentials = read_certificates(config)
            log, access_log = self.open_logs(config)
            provision = Provision(
                *(config, self.bind(config), log, access_log, credentials),
                admin=self.bind_admin(config),
                metrics_dir=self.find_metrics_dir(config),
            )
            undo.pop_all()
        return provision

    def open_logs(self, config: Config) -> tuple[LogFile | None, LogFile | None]:
        """The log and the access log of this configuration; those that are open already if their paths lead there."""
        return (
            self._open_log("log", config.log_file, config),
            self._open_log("access-log", config.access_log, config),
        )

    def _open_log(
        self, kind: Literal["log", "access-log"], path: str | None, config: Config
    ) -> LogFile | None:
        if path is None or (kind == "log" and path == logs.STANDARD_STREAM):
            return None
        for log in self._logs:
            if (log.kind, log.path) == (kind, path) and log.is_in_place():
                return log
        is_file = path != logs.STANDARD_STREAM
        fd = open_log_for(config, kind, path) if is_file else logs.open_standard_output()
        self._logs.append(LogFile(kind, path, fd))
        return self._logs[-1]

    def bind(self, config: Config) -> dict[int, Listener]:
        """The listeners of this configuration: those that are there already, and those that it adds."""
        owner, found = find_owner(config), dict[int, Listener]()
        for text in config.bind:
            address = parse_address(text)
            number = next(
                (
                    number
                    for number, listener in self._listeners.items()
                    if listener.address == address and number not in found and listener.is_in_place()
                ),
                0,
            )
            if not number:
                made = bind_listener(
                    address, backlog=config.backlog, socket_mode=config.socket_mode, owner=owner
                )
                self.last_number = number = self.last_number + 1
                self._listeners[number] = made
            found[number] = self._listeners[number]
        return found

    def bind_admin(self, config: Config) -> tuple[Listener, ...]:
        """The same for the admin process: those of `admin` first, then those of `agent_check`."""
        owner, found = find_owner(config), list[Listener]()
        for text in (*config.admin, *config.agent_check):
            address = parse_address(text)
            made = next(
                (
                    each
                    for each in self._admin
                    if each.address == address and each not in found and each.is_in_place()
                ),
                None,
            )
            if made is None:
                made = bind_listener(
                    *(address,),
                    backlog=ADMIN_BACKLOG,
                    socket_mode=config.socket_mode,
                    owner=owner,
                    option="--admin" if text in config.admin else "--agent-check",
                )
                self._admin.append(made)
            found.append(made)
        return tuple(found)

    def find_metrics_dir(self, config: Config) -> str:
        """The directory for the app's metrics, made if need be. Empty if nobody will read them, or the user has one."""
        if not config.admin or find_users_metrics_dir(config):
            return ""
        owner = find_owner(config)
        if owner not in self._metrics_dirs:
            try:
                self._metrics_dirs[owner] = make_metrics_dir(owner)
            except OSError as error:
                logger.warning(
                    "the app's metrics are left out", extra={"why": f"no directory: {error.strerror}"}
                )
                return ""
        return self._metrics_dirs[owner].path

    def put_in_force(self, new: Provision, old: Provision) -> None:
        """Log as it says, and give the listeners that stay what can be changed without binding anew."""
        now, before = new.config, old.config
        looks = [(each.log_level, each.log_format, each.log_time) for each in (now, before)]
        if looks[0] != looks[1] or new.log != old.log:
            logs.set_up_logging(now.log_level, now.log_format, new.log_fd(), now.log_time)
        is_owner_new = (now.user, now.group) != (before.user, before.group)
        for number in new.listeners.keys() & old.listeners.keys():
            listener = new.listeners[number]
            try:
                if now.backlog != before.backlog:
                    listener.set_backlog(now.backlog)
                if now.socket_mode != before.socket_mode or is_owner_new:
                    owner = find_owner(now) or (os.geteuid(), os.getegid())
                    listener.set_access(now.socket_mode, owner if is_owner_new else None)
            except (OSError, PreforkError) as error:
                logger.warning("a listener stays as it was: %s", error, extra={"address": listener.name()})

    def reopen_log(self, reopened: LogFile, config: Config) -> int:
        """Open a log anew under its path and write there from now on.

        The descriptor is the caller's, for those who write there too. Raises `PreforkError`.
        """
        fd = open_log_for(config, reopened.kind, reopened.path)
        for log in self._logs:
            if log.is_same(reopened):
                logs.lead_elsewhere(log.fd, fd)
        return fd

    def retain(self, provisions: Iterable[Provision]) -> dict[int, str]:
        """Close whatever none of these needs; returns the addresses that are not listened on any more, by number."""
        kept = list(provisions)
        numbers = {number for provision in kept for number in provision.listeners}
        unused = {n: listener for n, listener in self._listeners.items() if n not in numbers}
        names = {number: listener.name() for number, listener in unused.items()}
        for listener in unused.values():
            listener.refuse_new()  # the workers empty its backlog, and then it ends
        used = [log for provision in kept for log in provision.logs()]
        admin = [listener for provision in kept for listener in provision.admin]
        self._close_all_but(numbers, [log for log in self._logs if log in used], admin)
        return names

    def close_listeners(self) -> None:
        """The service ends. The admin process answers until the very end."""
        self._close_all_but((), self._logs, self._admin)

    def close(self) -> None:
        """The master ends."""
        self._close_all_but((), self._logs, ())
        for metrics_dir in self._metrics_dirs.values():
            metrics_dir.remove()
        self._metrics_dirs.clear()

    def _close_all_but(
        self, numbers: Iterable[int], kept: Iterable[LogFile], admin: Iterable[Listener]
    ) -> None:
        keep_numbers, keep_logs, keep_admin = frozenset(numbers), list(kept), list(admin)
        for listener in [each for each in self._admin if each not in keep_admin]:
            self._admin.remove(listener)
            listener.close()
        for number in self._listeners.keys() - keep_numbers:
            self._listeners.pop(number).close()
        for log in [log for log in self._logs if log not in keep_logs]:
            self._logs.remove(log)
            os.close(log.fd)


def check(config: Config) -> None:
    """Refuse what no service can have, before anything is opened. Raises `PreforkError`."""
    if config.workers > ROWS // 2:
        raise ConfigError(f"workers: {config.workers} is more than {ROWS // 2}")
    find_owner(config)


def read_certificates(config: Config) -> Credentials | None:
    """Those of this configuration, None without TLS. Raises `PreforkError`; warns of what clients will refuse."""
    credentials = certificates.read_credentials(config)
    if credentials is not None and (trouble := certificates.find_trouble(credentials)):
        logger.warning("certificate %s", trouble, extra={"certfile": config.certfile})
    return credentials


def find_owner(config: Config) -> Owner:
    """Who the workers will be. Raises `ConfigError` or `NoPermissionError` as `privileges.find_identity` does."""
    identity = privileges.find_identity(config.user, config.group)
    return None if identity is None else (identity.uid, identity.gid)


def find_users_metrics_dir(config: Config) -> str:
    """Where prometheus_client shall keep its files, if the user says so. Else empty."""
    for name in (METRICS_DIR_VARIABLE, METRICS_DIR_VARIABLE.lower()):  # the second is its older name
        if found := config.env.get(name) or os.environ.get(name):
            return found
    return ""


def open_log_for(config: Config, kind: str, path: str) -> int:
    """Open a log file of this configuration, which the workers own. Raises `PreforkError`."""
    owner = find_owner(config)
    fd = logs.open_log(path, "access log" if kind == "access-log" else "log file")
    if owner is not None and os.geteuid() == 0:
        os.fchown(fd, *owner)
    return fd
