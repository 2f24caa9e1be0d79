"""Listeners: bound once by the master, open for as long as the service lives, inherited by everyone else.

Unix sockets are made under a private umask and then given the mode that was asked for; a stale one is replaced only
after connecting to it was refused; a live one, or a file that is no socket, never.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from prefork.config.addresses import Address
from prefork.errors import AddressInUseError, ConfigError, NoPermissionError, PreforkError

SO_ATTACH_FILTER = 26
INSTRUCTION = struct.Struct("HBBI")
# On a TCP socket the packet begins with the TCP header, whose byte 13 holds the flags.
DROP_SYN = b"".join(
    (
        INSTRUCTION.pack(0x30, 0, 0, 13),  # load byte 13
        INSTRUCTION.pack(0x45, 0, 1, 0x02),  # is SYN set? else skip one
        INSTRUCTION.pack(0x06, 0, 0, 0),  # drop
        INSTRUCTION.pack(0x06, 0, 0, 0xFFFFFFFF),  # take it whole
    )
)
"""Classic BPF: see Documentation/networking/filter.rst of the kernel."""


class Listener:
    """A listening socket and what must be tidied up after it."""

    __slots__ = ("_inode", "_name", "address", "sock")

    def __init__(self, address: Address, sock: socket.socket, inode: tuple[int, int] | None = None) -> None:
        self.address = address
        self.sock = sock
        self._name = name_of(sock)
        self._inode = inode
        """(st_dev, st_ino) of a unix socket that we made, so that we unlink only our own."""

    def fileno(self) -> int:
        """Its descriptor."""
        return self.sock.fileno()

    def name(self) -> str:
        """The address clients can use, with the real port: `127.0.0.1:43211`, `unix:/run/shop.sock`. Also when it is
        closed: a service that drains is still asked what it is.
        """
        return self._name

    def describe(self) -> dict[str, str]:
        """The same for a log line, with what the service manager calls it."""
        label = self.address.label
        return {"address": self.name()} | ({"fd_name": label} if label else {})

    def is_open(self) -> bool:
        """Has it not been closed?"""
        return self.sock.fileno() >= 0

    def is_in_place(self) -> bool:
        """Does its address still lead to it? The file of a unix socket that we made may be gone, or its directory be
        another one by now: a deploy turned `current` round.
        """
        if self._inode is None:
            return True
        try:
            found = os.lstat(self.address.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def set_backlog(self, backlog: int) -> None:
        """How many connections may wait, from now on; see listen(2). Raises OSError."""
        self.sock.listen(backlog)

    def set_access(self, mode: int, owner: tuple[int, int] | None) -> None:
        """Who may connect to a unix socket that we made; `owner` None leaves it. Raises OSError."""
        if self._inode is None or not self.is_in_place():
            return
        if owner is not None:
            os.chown(self.address.path, *owner, follow_symlinks=False)
        os.chmod(self.address.path, mode)

    def refuse_new(self) -> None:
        """Let nobody connect any more, while those who have can still be accepted through any copy. Never raises.

        Else whoever closes the last copy resets those who came after its last look. Connecting to a unix socket ends
        with its file. A TCP socket gets a filter that drops SYN and lets handshakes under way complete (socket(7),
        SO_ATTACH_FILTER). What was inherited is not ours to close for others.
        """
        if self._inode is not None and self.is_in_place():
            with suppress(OSError):
                os.unlink(self.address.path)
        if self.address.kind in {"tcp4", "tcp6"} and sys.platform.startswith("linux"):
            with suppress(ImportError, OSError):
                import ctypes  # noqa: PLC0415 loaded already, for prctl

                code = ctypes.create_string_buffer(DROP_SYN)
                count = len(DROP_SYN) // INSTRUCTION.size
                fprog = struct.pack("HP", count, ctypes.addressof(code))
                self.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)

    def close(self) -> None:
        """Close our copy; unlink the unix socket if the file is still the one that we made."""
        self.sock.close()
        if self._inode is not None and self.is_in_place():
            with suppress(OSError):
                os.unlink(self.address.path)


def name_of(sock: socket.socket) -> str:
    """A listening socket's address for people."""
    bound = sock.getsockname()
    if sock.family == socket.AF_INET6:
        return f"[{bound[0]}]:{bound[1]}"
    if sock.family == socket.AF_UNIX:
        path = os.fsdecode(bound) if bound else ""
        return f"unix:{path}"
    return f"{bound[0]}:{bound[1]}"


def bind_listener(
    address: Address,
    *,
    backlog: int,
    socket_mode: int,
    owner: tuple[int, int] | None = None,
    option: str = "--bind",
) -> Listener:
    """Bind and listen. `owner` (uid, gid) gets a unix socket that we make. `option` is where to choose another address.

    Raises `AddressInUseError`, `NoPermissionError` or `ConfigError`, naming the address and, where the system tells,
    who holds it.
    """
    try:
        if address.kind == "fd":
            return _adopt(address, backlog)
        if address.kind == "unix":
            return _bind_unix(address, backlog, socket_mode, owner, option)
        return _bind_tcp(address, backlog)
    except OSError as error:
        raise explain_bind_error(address, error, option) from error


def _adopt(address: Address, backlog: int) -> Listener:
    fd = os.dup(address.fd)
    try:
        sock = socket.socket(fileno=fd)
    except BaseException:
        os.close(fd)
        raise
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise ConfigError(f"{address} is not a stream socket")
    try:
        if sock.family != socket.AF_UNIX:  # as on those that we bind
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.listen(backlog)  # on a socket that listens already this only sets the backlog; see listen(2)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(address, sock)


def _bind_tcp(address: Address, backlog: int) -> Listener:
    family = socket.AF_INET6 if address.kind == "tcp6" else socket.AF_INET
    # As bytes: a str would import the IDNA codec, 1 MB in the master, and hosts are ASCII here.
    found = socket.getaddrinfo(
        address.host.encode("ascii"), address.port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE
    )
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it on Linux: one system call here instead of one per connection.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(found[0][4])
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return Listener(address, sock)


def _bind_unix(
    address: Address, backlog: int, mode: int, owner: tuple[int, int] | None, option: str
) -> Listener:
    path = address.path
    _clear_stale(path, option)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The master has one thread: nobody else makes a file under this umask.
    old = os.umask(0o177)
    try:
        sock.setblocking(False)
        sock.bind(path)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(old)
    made = os.lstat(path)
    try:
        if owner is not None:
            os.chown(path, *owner, follow_symlinks=False)
        os.chmod(path, mode)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        os.unlink(path)
        raise
    return Listener(address, sock, (made.st_dev, made.st_ino))


def _clear_stale(path: str, option: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressInUseError(
            f"{path} exists and is not a socket",
            "prefork never replaces a file it did not make: move it away",
        )
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.setblocking(False)
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)  # nobody listens: left behind by a server that was killed
    except BlockingIOError:  # alive, its backlog is full
        raise AddressInUseError(f"unix:{path} is in use by a live server") from None
    else:
        hint = _holder_hint(path, option)
        raise AddressInUseError(f"unix:{path} is in use by a live server", hint) from None
    finally:
        probe.close()


def explain_bind_error(address: Address, error: OSError, option: str = "--bind") -> PreforkError:
    """One error for an address that cannot be had, with who holds it where the system tells."""
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.EADDRINUSE:
        holder = (
            _find_eldest("unix", lambda socket: str(socket.laddr) == address.path)
            if address.kind == "unix"
            else find_holder(address.port)
        )
        by = f" by {holder}" if holder else ""
        return AddressInUseError(
            f"{address} is in use{by}", f"stop it, or choose another address with {option}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = (
            "ports below 1024 need root, CAP_NET_BIND_SERVICE, or a listener passed by systemd"
            if address.port and address.port < 1024
            else "check who owns the directory and its mode"
        )
        return NoPermissionError(f"no permission to bind {address}", hint)
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(
            f"cannot bind {address}: {reason}", "the host must be a name or address of this machine"
        )
    if error.errno in {errno.EBADF, errno.ENOTSOCK}:
        return ConfigError(f"cannot use {address}: it is not an open socket")
    return ConfigError(f"cannot bind {address}: {reason}")


def find_holder(port: int) -> str | None:
    """Who listens on this TCP port, for an error message: `pid 4211 (gunicorn: master [shop])`."""
    import psutil  # noqa: PLC0415 2 MB that only an error needs

    # laddr is (host, port), or () where the kernel would not say.
    return _find_eldest(
        "tcp", lambda socket: socket.status == psutil.CONN_LISTEN and tuple(socket.laddr[1:2]) == (port,)
    )


def _holder_hint(path: str, option: str) -> str:
    holder = _find_eldest("unix", lambda socket: str(socket.laddr) == path)
    return f"it is {holder}" if holder else f"stop it, or choose another path with {option}"


def _find_eldest(kind: str, is_it: Callable[[Any], bool]) -> str | None:
    """Name the process that holds such a socket; of several, the eldest: the master, not those that inherited it."""
    import psutil  # noqa: PLC0415 2 MB that only an error needs

    with suppress(psutil.Error, OSError, RuntimeError):
        for found in filter(is_it, psutil.net_connections(kind)):
            if found.pid is None:
                continue
            eldest = psutil.Process(found.pid)
            # psutil tells one process for each socket: look whether its parents hold it too.
            while (parent := eldest.parent()) and any(map(is_it, parent.net_connections(kind))):
                eldest = parent
            return (
                "another --bind of this service" if eldest.pid == os.getpid() else _name_process(eldest.pid)
            )
    return None


def _name_process(pid: int) -> str:
    import psutil  # noqa: PLC0415 2 MB that only an error needs

    with suppress(psutil.Error, OSError):
        words = " ".join(psutil.Process(pid).cmdline())[:60].strip()
        if words:
            return f"pid {pid} ({words})"
    return f"pid {pid}"
