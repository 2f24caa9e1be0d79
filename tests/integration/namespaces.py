"""What systemd's and a container's namespaces have in common: an environment with prefork in it, and a network."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
RAISE_LOOPBACK = """
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
"""
PREFORK = """\
#!{home}/bin/python
import sys
from prefork.cli.main import main
sys.exit(main())
"""


def write_environment(folder: Path, home: str, *, base: str, packages: str) -> None:
    """A virtual environment that will be at `home`, with this Python at `base` and its packages at `packages`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(f"{base}/bin/{version}")
    (folder / "pyvenv.cfg").write_text(f"home = {base}/bin\n")
    (folder / "lib" / version).mkdir(parents=True)
    (folder / "lib" / version / "site-packages").symlink_to(packages)
    (folder / "bin/prefork").write_text(PREFORK.format(home=home))
    (folder / "bin/prefork").chmod(0o755)


@contextmanager
def reaching(pid: int) -> Iterator[None]:
    """The thread, and those that it starts meanwhile, open sockets in the network of that process."""
    with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{pid}/ns/net").open() as its:
        _enter_network(its.fileno())
        try:
            yield
        finally:
            _enter_network(ours.fileno())


def _enter_network(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 on
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
