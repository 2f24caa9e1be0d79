"""The pidfile: written whole or not at all, a stale one replaced, a live one refused, removed only if still ours."""

from __future__ import annotations

import os
from contextlib import suppress

from prefork.errors import AddressInUseError, ConfigError
from prefork.system.logs import explain_file_error

FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Pidfile:
    """A pidfile that holds our pid."""

    __slots__ = ("_path", "_pid")

    def __init__(self, path: str, pid: int) -> None:
        self._path = path
        self._pid = pid

    def remove(self) -> None:
        """Remove it, unless somebody else's pid is in it by now. Never raises."""
        with suppress(OSError, ValueError):
            with open(self._path, encoding="ascii") as file:
                if int(file.read(32)) != self._pid:
                    return
            os.unlink(self._path)


def write_pidfile(path: str) -> Pidfile:
    """Claim `path` for this process. Raises `AddressInUseError` (a live process holds it), `NoPermissionError` or
    `ConfigError` (not a pidfile: we never overwrite what we do not understand).
    """
    pid = os.getpid()
    try:
        fd = os.open(path, FLAGS, 0o644)
    except OSError as error:
        raise explain_file_error("pidfile", path, error) from error
    try:
        said = os.read(fd, 64).strip()
        if said:
            if not said.isdigit():
                raise ConfigError(
                    f"{path} is not a pidfile: it holds something else", "choose another path with --pid"
                )
            # 0 is nobody, but to kill(2) our own process group.
            if (other := int(said)) not in (0, pid) and _is_alive(other):
                raise AddressInUseError(f"the pidfile {path} belongs to pid {other}, which is running")
        os.lseek(fd, 0, os.SEEK_SET)
        os.truncate(fd, 0)
        os.write(fd, b"%d\n" % pid)
    except OSError as error:
        raise explain_file_error("pidfile", path, error) from error
    finally:
        os.close(fd)
    return Pidfile(path, pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    # A zombie has ended; only its parent does not know yet.
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[:1] != [b"Z"]
    return True
