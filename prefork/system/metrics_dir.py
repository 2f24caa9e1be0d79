"""A private directory, for as long as the service lives, where the app's processes keep their metrics.

In memory where there is a place for that (/dev/shm): processes map these files and write to them at each count, and a
disk that is busy with writing them back would make them wait. `TMPDIR` names another place.

The directory belongs to the workers' user, whom we do not trust when we are root: what is removed at the end is what
its descriptor holds, whatever is at its path by then.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from prefork.system import clock

ROOM_BYTES = 32 * 1024 * 1024
"""A place with less than that is taken only if there is no other."""
FRESH_S = 60.0
"""One that was made a moment ago may not be locked yet."""
PREFIX = "prefork-metrics-"
PLACES = ("/dev/shm", "/tmp")  # noqa: S108  # a name nobody can guess, made anew and private


class MetricsDir:
    """One that was made. Its descriptor is locked: one that nobody locks was left behind."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def remove(self) -> None:
        """With all that is in it. Never raises."""
        with suppress(OSError):
            _empty(self._fd)
        with suppress(OSError):
            os.rmdir(self.path)
        os.close(self._fd)


def make_metrics_dir(owner: tuple[int, int] | None, places: tuple[str, ...] = ()) -> MetricsDir:
    """Make one for this owner, None: us, and remove those that killed masters left behind. Raises OSError."""
    refused: OSError | None = None
    for place in sorted(places or _list_places(), key=_is_tight):
        try:
            path = os.path.join(place, f"{PREFIX}{os.urandom(8).hex()}")
            os.mkdir(path, 0o700)
        except OSError as error:
            refused = error
            continue
        _remove_stale(place)
        fd = _open_locked(path)
        try:
            if owner is not None and os.geteuid() == 0:
                os.fchown(fd, *owner)
        except OSError:
            os.close(fd)
            os.rmdir(path)
            raise
        return MetricsDir(path, fd)
    raise refused or FileNotFoundError(errno.ENOENT, "no place for temporary files")


def _list_places() -> tuple[str, ...]:
    named = os.environ.get("TMPDIR", "")
    return (named, *PLACES) if named else PLACES


def _is_tight(place: str) -> bool:
    # Who writes to a mapped file that the file system has no room for is killed by SIGBUS.
    try:
        found = os.statvfs(place)
    except OSError:
        return True
    return found.f_bavail * found.f_frsize < ROOM_BYTES


def _open_locked(path: str) -> int:
    """Raises OSError if somebody else has it locked."""
    import fcntl  # noqa: PLC0415  # who has no admin process needs none

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove_stale(place: str) -> None:
    for name in os.listdir(place):
        path = os.path.join(place, name)
        if name.startswith(PREFIX):
            with suppress(OSError):  # in use, somebody else's, or gone meanwhile
                if os.lstat(path).st_mtime < clock.wall_s() - FRESH_S:
                    MetricsDir(path, _open_locked(path)).remove()


def _empty(fd: int) -> None:
    # By the descriptor: nothing outside can be reached, not through a link either.
    for name in os.listdir(fd):
        with suppress(OSError):
            os.unlink(name, dir_fd=fd)
