"""What the fresh interpreter runs: hear what to boot, import, fork on demand, guard the workers to their end.

Fork rules: no thread of ours before a fork; in the child everything that is not the worker's is closed before any
code of the app runs; the child returns out of this loop to the top of the stack, so that no frame of the zygote, and
none of its `finally` blocks, lies under a worker.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import selectors
import signal
import socket
import sys
from typing import TYPE_CHECKING, NamedTuple

import prefork
from prefork.config.model import Config
from prefork.errors import AppError, PreforkError
from prefork.ipc import messages as say
from prefork.ipc.codec import Reader, decode_resume, encode, read_from_master_as_zygote
from prefork.ipc.foreign import describe_failure, fit
from prefork.ipc.starting import PROTOCOL, ZYGOTE_CODE
from prefork.serve.app import LoadedApp, load_app
from prefork.system import clock, logs, privileges, processes, signals, titles
from prefork.system.channel import Channel, open_pair
from prefork.system.fork_guard import ForkGuard
from prefork.worker.errand import Errand, Inherited
from prefork.worker.main import run_worker, warm_up
from prefork.zygote.fork_safety import find_hazards, list_threads
from prefork.zygote.spare import Reserve, Spare, Standby, run_spare

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls
    from prefork.system.app_output import AppOutput

logger = logging.getLogger("prefork.zygote")

ORPHAN_GRACE_S = 7.0
"""When the master is gone, workers have so long to drain before their guardian kills them."""
DUMP_BEFORE_TIMEOUT = 0.9
"""A hanging import writes its stack at this share of the boot timeout, before the master kills it."""


class Import(NamedTuple):
    """How the import went: `app` is None when each worker shall import for itself."""

    app: LoadedApp | None
    why: str
    ms: int
    watchdog: frozenset[int] = frozenset()
    """The thread of our own that watched the import; it may still be on its way out."""


def main(argv: list[str]) -> int:
    """The zygote's whole life, and after a fork the worker's. `argv`: where the master's prefork is, the channel's
    descriptor, the master's protocol, and after an unsafe import the descriptor of the file that says what was known
    before the exec.
    """
    if argv[2] != str(PROTOCOL):
        refuse_master(int(argv[1]), argv[2])
        return 0
    child = run_zygote(int(argv[1]), int(argv[3]) if len(argv) > 3 else None)
    match child:
        case None:
            return 0
        case Errand():
            return run_worker(child)
        case Standby():
            return run_spare(child)


def refuse_master(channel_fd: int, protocol: str) -> None:
    """A reload found another version of prefork than the master's, and the two cannot talk: say just that."""
    channel = Channel(socket.socket(fileno=channel_fd))
    why = f"prefork {prefork.__version__} speaks another protocol ({PROTOCOL}) than the master ({fit(protocol, 20)})"
    channel.send(encode(say.ImportFailed(f"{why}: restart the service to upgrade it")))
    channel.flush()


def run_zygote(channel_fd: int, resume_fd: int | None) -> Errand | Standby | None:
    """Returns None when the zygote ends, or in a forked child what it is there for."""
    signals.ignore(
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2
    )
    processes.die_with_parent(die=True)
    os.set_inheritable(channel_fd, False)
    channel = Channel(socket.socket(fileno=channel_fd))
    reader = read_from_master_as_zygote()
    if resume_fd is None:
        processes.close_descriptors_except(frozenset({channel_fd}))
        heard = _hear_boot(channel, reader)
    else:
        heard = _resume(resume_fd)
    if heard is None:
        return None
    boot, inherited = heard.boot, heard.inherited
    titles.set_title(f"prefork: zygote {boot.config.name} gen={boot.gen} importing")
    try:
        prepare_process(boot.config, inherited.log_fd)
        inherited = inherited._replace(output=take_output(boot.config, inherited.log_fd))
        guard = ForkGuard(inherited.listener_fds.values)
        imported = import_app(boot.config, inherited.log_fd, heard.unsafe)
        guard.end()
        if imported.app is not None:
            own_fds = frozenset({channel_fd, *(inherited.output.list_fds() if inherited.output else ())})
            hazards = find_hazards(own_fds, imported.watchdog)
            if hazards and boot.config.preload == "auto":
                _start_over(channel_fd, boot, inherited, ", ".join(hazards))
            if hazards:
                logger.warning(
                    "forking although the import left %s", ", ".join(hazards), extra={"gen": boot.gen}
                )
            warm_up(boot.config, imported.app.interface)
        tls = _make_tls(boot.config, inherited.tls_fd)
        inherited = inherited._replace(tls_fd=None)
    except PreforkError as error:
        if inherited.output is not None:
            inherited.output.settle()
        channel.send(encode(say.ImportFailed(*describe_failure(error))))
        channel.flush()
        return None
    if inherited.output is not None:
        inherited.output.settle()
    gc.collect()
    gc.freeze()
    gc.enable()
    # From here on the zygote outlives the master for a moment, to see its workers to their end.
    processes.die_with_parent(die=False)
    titles.set_title(f"prefork: zygote {boot.config.name} gen={boot.gen}")
    channel.send(encode(_describe(boot.config, imported)))
    return Zygote(boot, inherited, imported.app, tls, channel, reader).run(heard.waiting)


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


def _make_tls(config: Config, fd: int | None) -> Tls | None:
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


def _describe(config: Config, imported: Import) -> say.Imported:
    app = imported.app
    return say.Imported(
        where=app.where if app else config.app,
        interface=app.interface if app else None,
        preloaded=app is not None,
        why=fit(imported.why),
        import_ms=imported.ms,
        version=prefork.__version__,
    )


class _Heard(NamedTuple):
    boot: say.Boot
    inherited: Inherited
    unsafe: str
    waiting: list[say.MasterToZygote]
    """Messages that came right behind."""


def _hear_boot(channel: Channel, reader: Reader[say.MasterToZygote]) -> _Heard | None:
    """Descriptors first, then `Boot`; None if the master is gone."""
    given: dict[str, dict[int, int]] = {
        "listener": {}, "scoreboard": {}, "log": {}, "access-log": {}, "tls": {}
    }  # fmt: skip
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            selector.select()
            data = channel.receive()
            if data is None:
                return None
            heard = reader.feed(data)
            for index, message in enumerate(heard):
                if isinstance(message, say.Give):
                    given[message.what][message.number] = channel.take_promised_fd()
                elif isinstance(message, say.Boot):
                    inherited = Inherited(
                        given["listener"],
                        given["scoreboard"][0],
                        given["log"].get(0),
                        given["access-log"].get(0),
                        given["tls"].get(0),
                    )
                    return _Heard(message, inherited, "", heard[index + 1 :])


def _start_over(channel_fd: int, boot: say.Boot, inherited: Inherited, unsafe: str) -> None:
    """The import made this process unfit to fork: become a new interpreter that leaves the import to its workers.

    Same pid, same channel: to the master nothing happened but time.
    """
    import tempfile  # noqa: PLC0415 8 ms that only the unsafe pay

    inherited, output = inherited._replace(output=None), inherited.output
    if output is not None:
        output.settle()
    with tempfile.TemporaryFile() as file:
        file.write(encode(say.Resume(boot, *inherited[:-1], unsafe)))
        file.flush()
        kept = [channel_fd, file.fileno(), *inherited.all()]
        processes.replace_python(ZYGOTE_CODE, [*sys.argv[1:4], str(file.fileno())], kept)


def _resume(fd: int) -> _Heard:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb") as file:
        resume = decode_resume(file.read())
    inherited = Inherited(
        resume.listener_fds, resume.scoreboard_fd, resume.log_fd, resume.access_log_fd, resume.tls_fd
    )
    for kept_fd in inherited.all():
        os.set_inheritable(kept_fd, False)
    return _Heard(resume.boot, inherited, resume.unsafe, [])


class Zygote:
    """Ready to fork. Its only state is which children it has."""

    def __init__(
        self,
        boot: say.Boot,
        inherited: Inherited,
        app: LoadedApp | None,
        tls: Tls | None,
        channel: Channel,
        reader: Reader[say.MasterToZygote],
    ) -> None:
        self._boot = boot
        self._inherited = inherited
        self._app = app
        self._tls = tls
        self._channel = channel
        self._reader = reader
        self._serials: dict[int, int | None] = {}
        """pid → serial of every child not reaped yet; a spare has none."""
        self._reserve = Reserve(is_allowed=app is not None)
        self._inbox = signals.SignalInbox([signal.SIGCHLD])
        self._is_leaving = False
        self._kill_at: float | None = None

    def run(self, waiting: list[say.MasterToZygote]) -> Errand | Standby | None:
        """Fork and reap until told to leave and the last child is gone. In a forked child, returns its purpose."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._inbox, selectors.EVENT_READ)
            selector.register(self._channel, selectors.EVENT_READ)
            while True:
                for message in waiting:
                    if (errand := self._obey(message)) is not None:
                        selector.close()
                        return errand
                waiting = []
                if self._is_leaving and not self._serials:
                    return None
                ready = selector.select(self._patience())
                self._inbox.take()
                self._reap()
                if any(key.fileobj is self._channel for key, _ in ready):
                    data = self._channel.receive()
                    if data is None:
                        selector.unregister(self._channel)
                        self._master_is_gone()
                    else:
                        waiting = self._reader.feed(data)
                elif not ready and self._kill_at is not None:
                    self._kill_orphans()
                elif not ready and (standby := self._make_due_spare()) is not None:
                    selector.close()
                    return standby
                if self._channel.has_unsent():
                    self._channel.flush()

    def _patience(self) -> float | None:
        if self._kill_at is not None:
            return max(0.0, self._kill_at - clock.monotonic())
        return 0.05 if self._channel.has_unsent() else self._reserve.patience()

    def _obey(self, message: say.MasterToZygote) -> Errand | None:
        match message:
            case say.Fork():
                return self._fork(message)
            case say.ReopenLog():
                self._inherited.reopen(message.what, self._channel.take_promised_fd())
                self._reserve.renew()  # the spare would write to the old one
            case say.Unlisten():
                if (left := self._inherited.listener_fds.pop(message.number, None)) is not None:
                    os.close(left)
                    self._reserve.renew()  # the spare would keep it open
            case say.Leave():
                self._leave()
            case say.Boot() | say.Give():
                raise AssertionError("a zygote boots once")
        return None

    def _fork(self, message: say.Fork) -> Errand | None:
        fd = self._channel.take_promised_fd()
        spare = self._reserve.take()
        if spare is not None:
            self._tell_forked(message.serial, spare.pid)
            spare.hand_over(message, fd)  # last, so that its own words come after ours
            os.close(fd)
            return None
        try:
            pid = processes.fork()
        except OSError as error:
            self._channel.send(encode(say.ForkFailed(message.serial, f"cannot fork: {error.strerror}")))
            os.close(fd)
            return None
        if pid == 0:
            self._let_go()
            return Errand(self._boot, self._inherited, self._app, message, fd, self._tls)
        os.close(fd)
        self._tell_forked(message.serial, pid)
        return None

    def _tell_forked(self, serial: int, pid: int) -> None:
        self._serials[pid] = serial
        # Opened before anybody can reap it, so it cannot mean a later process with the same pid.
        pidfd = processes.open_pidfd(pid)
        self._channel.send(encode(say.Forked(serial, pid, pidfd is not None)), pidfd)
        if pidfd is not None:
            os.close(pidfd)

    def _make_due_spare(self) -> Standby | None:
        """Fork it, if it is time. In the child, returns what to wait with."""
        if self._app is None or not self._reserve.is_due():
            return None
        try:
            channel, theirs = open_pair()
        except OSError:  # no descriptor left: no spare, until after the next fork
            return None
        try:
            pid = processes.fork()
        except OSError:
            channel.close()
            theirs.close()
            return None
        if pid == 0:
            channel.close()
            self._let_go()
            return Standby(self._boot, self._inherited, self._app, theirs, self._tls)
        theirs.close()
        self._serials[pid] = None
        self._reserve.keep(Spare(pid, channel))
        return None

    def _let_go(self) -> None:
        """In a child: what is the zygote's."""
        self._inbox.close()
        self._channel.close()
        signals.restore(signal.SIGCHLD)

    def _reap(self) -> None:
        for pid in list(self._serials):  # never waitpid(-1): the app's import may have children of its own
            if (ended := processes.reap(pid)) is not None:
                serial = self._serials.pop(pid)
                if serial is None:
                    self._reserve.forget(pid)
                else:
                    self._channel.send(encode(say.Reaped(serial, pid, ended.status)))

    def _leave(self) -> None:
        self._is_leaving = True
        self._reserve.close()
        titles.set_title(f"prefork: zygote {self._boot.config.name} gen={self._boot.gen} leaving")
        for fd in self._inherited.listener_fds.values():
            os.close(fd)
        self._inherited.listener_fds.clear()

    def _master_is_gone(self) -> None:
        if not self._is_leaving:
            self._leave()
        self._kill_at = clock.monotonic() + ORPHAN_GRACE_S

    def _kill_orphans(self) -> None:
        for pid in self._serials:
            processes.send_signal(pid, None, signal.SIGKILL)
        self._kill_at = clock.monotonic() + 1.0
