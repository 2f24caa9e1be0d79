"""Could this file be written, or this address be bound? Asked beforehand, without making or taking either."""

from __future__ import annotations

import errno
import os
import socket
import stat

from prefork.config.addresses import Address
from prefork.errors import PreforkError
from prefork.system.listeners import explain_bind_error
from prefork.system.logs import explain_file_error


def check_file(what: str, path: str) -> None:
    """Raise the error that opening it for writing would raise; `what` names it there. Makes nothing."""
    try:
        found: os.stat_result | None = os.lstat(path)
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise explain_file_error(what, path, error) from None
    trouble = 0
    if found is None:
        directory = os.path.dirname(path) or "."
        if not os.path.isdir(directory):
            trouble = errno.ENOENT
        elif not os.access(directory, os.W_OK | os.X_OK):
            trouble = errno.EACCES
    elif stat.S_ISLNK(found.st_mode):
        trouble = errno.ELOOP
    elif stat.S_ISDIR(found.st_mode):
        trouble = errno.EISDIR
    elif not os.access(path, os.W_OK):
        trouble = errno.EACCES
    if trouble:
        raise explain_file_error(what, path, OSError(trouble, os.strerror(trouble)))


def find_bind_trouble(address: Address) -> PreforkError | None:
    """Why this address cannot be bound now, with who holds it; None if it is free, or not for us to try."""
    try:
        if address.kind == "unix":
            _try_to_connect(address.path)
        elif address.kind != "fd" and address.port:
            _try_to_bind(address)
    except OSError as error:
        return explain_bind_error(address, error)
    return None


def _try_to_bind(address: Address) -> None:
    family = socket.AF_INET6 if address.kind == "tcp6" else socket.AF_INET
    found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Without listen(2) nobody can connect to it meanwhile, and a socket that listens refuses it already.
        sock.bind(found[0][4])


def _try_to_connect(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        directory = os.path.dirname(path) or "."
        if not os.path.isdir(directory):
            raise
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "a file that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, PermissionError):
            return  # stale, and then it is replaced
        except BlockingIOError:  # alive, its backlog is full
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
