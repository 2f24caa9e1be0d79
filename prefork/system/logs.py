"""Where log lines go: one handler that never blocks, never raises, and can be pointed at a new file.

A pipe that nobody reads must not stop a process, least of all the master: we open it anew without waiting, ask
poll(2) first and write at most PIPE_BUF bytes at a time, which a pipe that polls writable takes whole (pipe(7)). Lines
that find no room are counted, and the count is told when there is room again. Setting O_NONBLOCK on what we inherited
instead would change the terminal for the shell too.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import socket
import stat
import sys
from contextlib import suppress

from prefork.errors import ConfigError, NoPermissionError, PreforkError
from prefork.system.lines import PIPE_BUF_BYTES, group_lines
from prefork.system.log_lines import JsonFormatter, TextFormatter

STDOUT, STDERR = 1, 2
STANDARD_STREAM = "-"


class LineHandler(logging.Handler):
    """Writes each record as one line (a traceback: its lines at once) to a descriptor."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        # A pipe that another process fills between our look and our write would hold us up.
        self._own_fd = _open_stderr() if fd == STDERR else None
        self.fd = fd if self._own_fd is None else self._own_fd
        self.who: dict[str, object] = {}
        """Fields that every record has, unless it has its own."""
        self._dropped = 0
        self._is_cut = False
        """Did the last line find room for its beginning only?"""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or count it as dropped."""
        mode = self._find_mode()
        for key, value in self.who.items():
            vars(record).setdefault(key, value)
        if self._dropped and self._write(self._tell_dropped(record.name), mode):
            self._dropped = 0
        if not self._write(self._render(record, mode), mode):
            self._dropped += 1

    def close(self) -> None:
        """It is used no more."""
        own_fd, self._own_fd = self._own_fd, None
        if own_fd is not None:
            os.close(own_fd)
        super().close()

    def _find_mode(self) -> int:
        with suppress(OSError):
            return os.fstat(self.fd).st_mode
        return 0

    def _render(self, record: logging.LogRecord, mode: int) -> str:
        formatter = self.formatter
        try:
            if isinstance(formatter, JsonFormatter) and not stat.S_ISREG(mode):
                return formatter.format_within(record, PIPE_BUF_BYTES - 1) + "\n"
            return self.format(record) + "\n"
        except Exception:  # noqa: BLE001 a record that cannot be formatted must not end the program
            return f"{record.msg!r} (could not be formatted)\n"

    def _tell_dropped(self, logger: str) -> str:
        said = {"name": logger, "levelno": logging.WARNING, "levelname": "WARNING", "lines": self._dropped}
        told = logging.makeLogRecord({**said, "msg": "log lines were dropped: nobody read them"})
        return self.format(told) + "\n"

    def _write(self, text: str, mode: int) -> bool:
        data = text.encode("utf-8", "backslashreplace")
        if self._is_cut:  # never go on in the middle of another line
            data = b"\n" + data
        most = len(data) + 1 if stat.S_ISREG(mode) else PIPE_BUF_BYTES
        try:
            poll = select.poll()
            poll.register(self.fd, select.POLLOUT)
            for piece in group_lines(data, most):
                while piece:
                    if not poll.poll(0):
                        return False
                    piece = piece[self._put(piece[:most], mode) :]  # noqa: PLW2901  what is left of it
                    self._is_cut = bool(piece)
        except OSError:  # closed, broken pipe, full disk: the log is lost, the service is not
            return False
        return True

    def _put(self, data: bytes, mode: int) -> int:
        if not stat.S_ISSOCK(mode):
            return os.write(self.fd, data)
        sock = socket.socket(fileno=self.fd)  # a log of systemd's: it cannot be opened anew
        try:
            return sock.send(data, socket.MSG_DONTWAIT)
        finally:
            sock.detach()


def set_up_logging(level: str, log_format: str, fd: int, log_time: str = "local") -> None:
    """Make `prefork` and everything below it log to `fd`. `auto` is text; JSON only when asked for.

    Handlers of another kind stay, and get what their own level asks for.
    """
    logger = logging.getLogger("prefork")
    others = [each for each in logger.handlers if not isinstance(each, LineHandler)]
    for before in logger.handlers:
        if before not in others:
            before.close()
    handler = LineHandler(fd)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(log_time))
    handler.setLevel(level.upper())
    logger.handlers[:] = [handler, *others]
    logger.setLevel(min(each.level for each in logger.handlers))
    logger.propagate = False
    logging.raiseExceptions = False


def sign_lines(who: dict[str, object]) -> None:
    """From now on every line of this process says who it is."""
    for handler in logging.getLogger("prefork").handlers:
        if isinstance(handler, LineHandler):
            handler.who = who


def open_log(path: str, what: str = "log file") -> int:
    """The descriptor of a log file, for appending, made with mode 0640, never through a symlink. Raises
    `NoPermissionError` or `ConfigError`.
    """
    try:
        fd = os.open(
            path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640
        )
    except OSError as error:
        raise explain_file_error(what, path, error) from error
    if stat.S_ISDIR(os.fstat(fd).st_mode):  # pragma: no cover open(2) refuses to write to one
        os.close(fd)
    return fd


def lead_elsewhere(log_fd: int, fd: int) -> None:
    """Have this log's descriptor lead to where `fd` does, and so standard output and error if they are the same file,
    as a background master's are.
    """
    for stream in (STDOUT, STDERR):
        if is_same_file(stream, log_fd):
            os.dup2(fd, stream)
    os.dup2(fd, log_fd, inheritable=False)


def is_same_file(one: int, other: int) -> bool:
    """Do both descriptors lead to one file?"""
    try:
        return one != other and os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return False


def open_standard_output() -> int:
    """A descriptor of our own for standard output. Raises `ConfigError` if it is closed."""
    fd = open_unwaiting(STDOUT)
    if fd is None:
        raise ConfigError("cannot write the access log: standard output is closed")
    return fd


def open_unwaiting(stream: int) -> int | None:
    """A descriptor of our own for what this one leads to; None if it is closed.

    A pipe or a terminal is opened anew, to be written to without ever waiting: whether a descriptor waits belongs to
    what was opened, which here we share with the shell. A file is not: it would have a position of its own, and who
    writes to the shared one would overwrite what we append.
    """
    try:
        mode = os.fstat(stream).st_mode
    except OSError:
        return None
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        # /proc is Linux's; whoever changed users may not open what is open.
        with suppress(OSError):
            return os.open(
                f"/proc/self/fd/{stream}", os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            )
    return fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 3)


def _open_stderr() -> int | None:
    """Only what can be opened anew: a socket of our own would look like a connection that the app's import left."""
    with suppress(OSError):
        mode = os.fstat(STDERR).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            return open_unwaiting(STDERR)
    return None


def explain_file_error(what: str, path: str, error: OSError) -> PreforkError:
    """One error for a file that cannot be opened for writing, with what to do about it."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = (error.strerror or "").lower()
        return NoPermissionError(
            f"cannot write the {what} {path}: {reason}", "choose a directory that you may write"
        )
    if error.errno == errno.ENOENT:
        return ConfigError(
            f"cannot write the {what} {path}: its directory does not exist", "make the directory first"
        )
    if error.errno == errno.ELOOP:
        return ConfigError(
            f"cannot write the {what} {path}: it is a symbolic link", "give the path that it points to"
        )
    return ConfigError(f"cannot write the {what} {path}: {(error.strerror or str(error)).lower()}")


def is_terminal() -> bool:
    """Will a person read standard error right now?"""
    return sys.stderr is not None and sys.stderr.isatty()
