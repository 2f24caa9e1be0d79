"""May this process fork now that the app is imported?

A fork copies one thread and every descriptor. A thread that the import left running does not exist in the child,
while the locks it held stay locked; a connected socket would be shared by all workers, each reading the other's
answers. We look, and say what we found by name.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

from prefork.system import clock

LEAVING_GRACE_S = 0.05


def find_hazards(own_fds: frozenset[int], own_threads: frozenset[int] = frozenset()) -> list[str]:
    """What makes forking unsafe, in words; empty if nothing does. `own_fds` and `own_threads` (the kernel's numbers)
    are ours, closed or joined, and do not count.
    """
    return _find_threads(own_threads) + _find_connections(own_fds)


def list_threads() -> frozenset[int]:
    """The kernel's numbers of our threads; see proc(5), /proc/pid/task."""
    with suppress(OSError):
        return frozenset(int(name) for name in os.listdir("/proc/self/task"))
    return frozenset()


def _find_threads(own: frozenset[int]) -> list[str]:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    native = _count_threads(1 + len(names), own) - 1 - len(names)
    found = [f"thread {name}" for name in names]
    # Pools of native libraries (BLAS, gRPC) have no Python name.
    return [*found, f"{native} native threads"] if native > 0 else found


def _count_threads(expected: int, own: frozenset[int]) -> int:
    """The kernel's count. A thread that was joined may still be on its way out: wait for it a moment."""
    deadline = clock.monotonic() + LEAVING_GRACE_S
    while True:
        count = len(list_threads() - own)
        if count <= expected or clock.monotonic() >= deadline:
            return count
        os.sched_yield()


def _find_connections(own_fds: frozenset[int]) -> list[str]:
    found = []
    for fd in _list_fds():
        if fd in own_fds or fd <= 2:
            continue
        with suppress(OSError, ValueError):
            sock = socket.socket(fileno=os.dup(fd))
            with sock:
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    host, port = sock.getpeername()[:2]
                    found.append(f"connection to {host}:{port}")
                elif sock.family == socket.AF_UNIX and (peer := sock.getpeername()):
                    found.append(f"connection to unix:{os.fsdecode(peer)}")
    return found


def _list_fds() -> list[int]:
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc/self/fd")]
    return list(range(3, 256))
