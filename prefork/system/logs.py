"""Where log lines go: one handler that never blocks, never raises, and can be pointed at a new file.

A pipe that nobody reads must not stop a process, least of all the master: we ask poll(2) first and write at most
PIPE_BUF bytes at a time, which a pipe that polls writable takes whole (pipe(7)). Lines that find no room are counted,
and the count is told when there is room again. Setting O_NONBLOCK instead would change the terminal for the shell too.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import stat
import sys
import time
from contextlib import suppress

import msgspec

from prefork.errors import ConfigError, NoPermissionError, PreforkError

PIPE_BUF_BYTES = 4096
STDOUT, STDERR = 1, 2
STANDARD_STREAM = "-"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class LineHandler(logging.Handler):
    """Writes each record as one line (a traceback: its lines at once) to a descriptor."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self._dropped = 0
        self._is_cut = False
        """Did the last line find room for its beginning only?"""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or count it as dropped."""
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 a record that cannot be formatted must not end the program
            line = f"{record.msg!r} (could not be formatted)\n"
        if self._dropped and self._write(self._tell_dropped(record.name)):
            self._dropped = 0
        if not self._write(line):
            self._dropped += 1

    def _tell_dropped(self, logger: str) -> str:
        said = {"name": logger, "levelno": logging.WARNING, "levelname": "WARNING", "lines": self._dropped}
        told = logging.makeLogRecord({**said, "msg": "log lines were dropped: nobody read them"})
        return self.format(told) + "\n"

    def _write(self, text: str) -> bool:
        data = text.encode("utf-8", "backslashreplace")
        if self._is_cut:  # never go on in the middle of another line
            data = b"\n" + data
        try:
            poll = select.poll()
            poll.register(self.fd, select.POLLOUT)
            while data:
                if not poll.poll(0):
                    return False
                data = data[os.write(self.fd, data[:PIPE_BUF_BYTES]) :]
                self._is_cut = bool(data)
        except OSError:  # closed, broken pipe, full disk: the log is lost, the service is not
            return False
        return True


class TextFormatter(logging.Formatter):
    """`[2026-01-01 12:00:00 +0000] [411] [INFO] event key=value`: gunicorn's shape, which people grep."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; control characters of foreign text are escaped."""
        when = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(record.created))
        text = escape(record.getMessage())
        fields = "".join(f" {key}={_show(value)}" for key, value in fields_of(record).items())
        line = f"[{when}] [{record.process}] [{record.levelname}] {text}{fields}"
        if record.exc_info:
            line += "\n" + _escape_lines(self.formatException(record.exc_info))
        if detail := getattr(record, "detail", ""):
            line += "\n" + _escape_lines(str(detail).rstrip("\n"))
        return line


class JsonFormatter(logging.Formatter):
    """The same fields as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, always."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said: dict[str, object] = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "event": record.getMessage(),
        }
        said.update(fields_of(record))
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        if detail := getattr(record, "detail", ""):
            said["detail"] = str(detail)
        return msgspec.json.encode(said, enc_hook=str).decode()


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What was passed as `extra=`, `detail` left out: that is several lines of text."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and key != "detail"}


def escape(text: str) -> str:
    """Escape control characters as repr() does, so that foreign text cannot forge lines or drive a terminal."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def _escape_lines(text: str) -> str:
    return "\n".join(map(escape, text.split("\n")))


def _show(value: object) -> str:
    text = str(value)
    if text and not any(c in text for c in " \t=\"'"):
        return escape(text)
    # The backslash first: else one before a quote would end the field early, and forge the next.
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escape(quoted)}"'


def set_up_logging(level: str, log_format: str, fd: int) -> None:
    """Make `prefork` and everything below it log to `fd`. `auto` is text; JSON only when asked for."""
    handler = LineHandler(fd)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logger = logging.getLogger("prefork")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.raiseExceptions = False


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


def open_standard_output() -> int:
    """A descriptor of our own for standard output. Raises `ConfigError` if it is closed.

    A pipe or a terminal is opened anew, to be written to without ever waiting: whether a descriptor waits belongs to
    what was opened, which here we share with the shell. A file is not: it would have a position of its own, and who
    writes to the shared one would overwrite what we append.
    """
    try:
        mode = os.fstat(STDOUT).st_mode
    except OSError as error:
        raise ConfigError("cannot write the access log: standard output is closed") from error
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        # /proc is Linux's; whoever changed users may not open what is open.
        with suppress(OSError):
            return os.open(
                f"/proc/self/fd/{STDOUT}", os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            )
    return fcntl.fcntl(STDOUT, fcntl.F_DUPFD_CLOEXEC, 3)


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
