"""Where control sockets are: `NAME.sock` in the first place that can be used, one file for each running service.

The same list for both sides. Who may operate a service is decided by the file system first (a directory of mode 0700, a
socket of mode 0600), and by the kernel's word on who connected second.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

VARIABLE = "PREFORK_CONTROL"
SUFFIX = ".sock"
PATH_BYTES = 104
"""unix(7): sun_path has room for 107 on Linux, for 103 on macOS and the BSDs."""
SHARED = "/run/prefork"


class Place(NamedTuple):
    """A directory for sockets."""

    directory: str
    file: str = ""
    """The socket's name if it is fixed; NAME.sock otherwise."""
    is_ours: bool = True
    """Must nobody else be able to enter it? Others are guarded by whoever named them."""

    def path_for(self, name: str) -> str:
        """Of the socket of the service with this name."""
        return f"{self.directory}/{self.file or name + SUFFIX}"


class UnusableError(Exception):
    """Why a place cannot be used, in words."""


def list_places(environ: Mapping[str, str], uid: int) -> Iterator[Place]:
    """In the order in which they are tried. Whoever sets `PREFORK_CONTROL` means that place and no other."""
    if given := environ.get(VARIABLE):
        given = given.rstrip("/") or "/"
        if given.endswith(SUFFIX) and not _is_directory(given):
            directory, _, file = given.rpartition("/")
            yield Place(directory or ("/" if given.startswith("/") else "."), file, is_ours=False)
        else:
            yield Place(given, is_ours=False)
        return
    # systemd makes it: several, with colons between them, if the unit names several.
    if given := environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        yield Place(given, is_ours=False)
    if given := environ.get("XDG_RUNTIME_DIR"):
        yield Place(f"{given}/prefork")
    if uid == 0:
        yield Place(SHARED)
    yield Place(f"/tmp/prefork-{uid}")  # noqa: S108  # its owner and mode are checked


def prepare(place: Place, uid: int) -> None:
    """Make the directory if it is not there, and check who can get in. Raises `UnusableError`."""
    look = os.lstat if place.is_ours else os.stat
    try:
        try:
            found = look(place.directory)
        except FileNotFoundError:
            with suppress(FileExistsError):  # another service was quicker
                os.mkdir(place.directory, 0o700)
            found = look(place.directory)
    except OSError as error:
        raise UnusableError(f"{place.directory}: {(error.strerror or str(error)).lower()}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise UnusableError(f"{place.directory}: not a directory")
    if place.is_ours and (found.st_uid != uid or found.st_mode & 0o077):
        owner = f"belongs to uid {found.st_uid}" if found.st_uid != uid else "is open to others"
        raise UnusableError(f"{place.directory}: {owner}")


def check_length(path: str) -> str:
    """The path, if the kernel can take it for a socket's. Raises `UnusableError`."""
    if len(os.fsencode(path)) >= PATH_BYTES:
        raise UnusableError(f"{path}: longer than the {PATH_BYTES - 1} bytes that a socket's path may have")
    return path


def list_sockets(environ: Mapping[str, str], uid: int) -> list[str]:
    """The paths of all the sockets that are there, stale ones too, each once."""
    found: dict[str, None] = {}
    for place in list_places(environ, uid):
        for path in [place.path_for("")] if place.file else _list_directory(place.directory):
            found[path] = None
    for directory in _list_shared(uid) if not environ.get(VARIABLE) else ():
        for path in _list_directory(directory):
            found[path] = None
    return [path for path in found if _is_socket(path)]


def _list_shared(uid: int) -> Iterator[str]:
    """Where services may be that were started by others than this shell: by systemd, and for root, by anybody."""
    yield SHARED
    for name in _list_names(SHARED):
        yield f"{SHARED}/{name}"  # systemd: RuntimeDirectory=prefork/NAME
    if uid == 0:
        for name in _list_names("/tmp"):  # noqa: S108  # the client asks the kernel who it is that answers
            if name.startswith("prefork-"):
                yield f"/tmp/{name}"  # noqa: S108
        for name in _list_names("/run/user"):
            yield f"/run/user/{name}/prefork"


def _list_directory(directory: str) -> list[str]:
    return [f"{directory}/{name}" for name in _list_names(directory) if name.endswith(SUFFIX)]


def _list_names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False
