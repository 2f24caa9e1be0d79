"""Small files that belong to one user: written whole or not at all, and believed only if nobody else can have written
them.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from prefork.errors import ConfigError, PreforkError
from prefork.system.logs import explain_file_error

MOST_BYTES = 1 << 20


def make_directory(path: str, mode: int, what: str) -> None:
    """Make a directory, and those above it, unless it is there; `what` will lie in it. Raises `PreforkError`."""
    try:
        os.makedirs(path, mode=mode, exist_ok=True)
    except OSError as error:
        raise explain_file_error(what, path, error) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise explain_file_error(what, path, PermissionError(13, os.strerror(13)))


def write_kept(path: str, data: bytes, what: str) -> None:
    """Replace a file at once, mode 0600. Raises `PreforkError`."""
    draft = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with suppress(FileNotFoundError):
            os.unlink(draft)  # left by a process of that pid that was killed
        fd = os.open(draft, flags, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(draft, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise explain_file_error(what, path, error) from None


def read_kept(path: str, what: str) -> bytes | None:
    """A file of ours; None if there is none. Raises `PreforkError` if it is not for us to believe."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refuse(what, path, (error.strerror or str(error)).lower()) from None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _refuse(what, path, "not a regular file")
        if found.st_uid not in {os.geteuid(), 0}:
            raise _refuse(what, path, f"it belongs to uid {found.st_uid}")
        if found.st_mode & 0o022:
            raise _refuse(what, path, "others may write it")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise _refuse(what, path, "too large")
    return data


def remove_kept(path: str) -> None:
    """Remove it. Never raises."""
    with suppress(OSError):
        os.unlink(path)


def _refuse(what: str, path: str, why: str) -> PreforkError:
    return ConfigError(f"cannot use the {what} {path}: {why}", "look at it, and remove it if it is not yours")
