"""What happens before the first fork: the process is made the app's, and the app is imported.

Log, identity, directory and environment come before the app's first line. Nothing here forks.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import prefork
from prefork.config.model import Config
from prefork.errors import AppError
from prefork.serve.app import LoadedApp, load_app
from prefork.system import clock, logs, privileges, processes
from prefork.zygote.fork_safety import list_threads

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls
    from prefork.system.app_output import AppOutput

DUMP_BEFORE_TIMEOUT = 0.9
"""A hanging import writes its stack at this share of the boot timeout, before the master kills it."""


class Import(NamedTuple):
    """How the import went: `app` is None when each worker shall import for itself."""

    app: LoadedApp | None
    why: str
    ms: int
    watchdog: frozenset[int] = frozenset()
    """The thread of our own that watched the import; it may still be on its way out."""


def prepare_process(config: Config, log_fd: int | None) -> None:
    """Log, identity, directory, environment: all before the app's first line. Raises `PreforkError`."""
    fd = logs.STDERR if log_fd is None else log_fd
    logs.set_up_logging(config.log_level, config.log_format, fd, config.log_time)
    if config.umask is not None:
        os.umask(config.umask)
    privileges.become(privileges.find_identity(config.user, config.group))
    processes.die_with_parent(die=True)  # a change of identity clears it
    if config.user is not None:
        _check_readable(config.user)
    try:
        os.chdir(config.chdir)
    except OSError as error:
        raise AppError(f"cannot enter {config.chdir}: {(error.strerror or '').lower()}") from error
    os.environ.pop("PREFORK_SSL_KEYFILE_PASSWORD", None)  # no business of the app's
    os.environ.update(config.env)


def take_output(config: Config, log_fd: int | None) -> AppOutput | None:
    """Have what the app prints go to the log, if it shall."""
    as_json = config.log_format == "json"
    # In the background they are the log file already, and nobody would know who said what.
    is_log_file = log_fd is not None and logs.is_same_file(logs.STDERR, log_fd)
    if config.capture_output is False or not (config.capture_output or as_json or is_log_file):
        return None
    from prefork.system.app_output import AppOutput  # noqa: PLC0415  # only then

    fd = logs.open_unwaiting(logs.STDERR) if log_fd is None else log_fd
    if fd is None:
        return None
    output = AppOutput(fd, as_json=as_json, log_time=config.log_time)
    output.take_over()
    return output


def make_tls(config: Config, fd: int | None) -> Tls | None:
    """Make the SSL context, once for all workers, and give up the memory that the certificates came in."""
    if fd is None:
        return None
    from prefork.serve.tls_facts import Tls  # noqa: PLC0415  # only with TLS
    from prefork.system.certificates import make_context, unseal  # noqa: PLC0415

    credentials = unseal(fd)
    os.close(fd)
    return Tls(make_context(credentials, config), credentials.find_first())


def _check_readable(user: str) -> None:
    """May this user read the Python that runs us? Else the next import fails with a riddle."""
    for path in (sys.executable, os.__file__, __file__):
        if not os.access(path, os.R_OK):
            raise AppError(
                f"user {user} cannot read {path}", "install Python and prefork where that user may read them"
            )


def import_app(config: Config, log_fd: int | None, unsafe: str) -> Import:
    """Import the app, unless the configuration or an earlier try says that each worker shall. Raises `AppError`."""
    if unsafe:
        return Import(None, f"the import left {unsafe}", 0)
    if config.preload == "never":
        return Import(None, "preload is never", 0)
    start = clock.monotonic()
    fd = logs.STDERR if log_fd is None else log_fd
    # The import of the subpackage of the same name put a module there; an import of the app's is in no worker.
    prefork.worker = None
    pid, before = processes.get_pid(), list_threads()
    faulthandler.dump_traceback_later(config.boot_timeout_s * DUMP_BEFORE_TIMEOUT, file=fd)
    watchdog = list_threads() - before
    try:
        app = load_app(config.app, factory=config.factory, interface=config.interface, app_dir=config.app_dir)
    finally:
        if processes.get_pid() != pid:
            processes.exit_now(0)  # the app forked while it was imported: a copy of the zygote is nobody's
        faulthandler.cancel_dump_traceback_later()
    return Import(app, "", round((clock.monotonic() - start) * 1000), watchdog)
