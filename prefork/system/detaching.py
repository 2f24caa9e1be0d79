"""Start a program that outlives us, our terminal and our session: what daemon(7) asks of a service that has no manager.

Two forks: the first child leads a new session, the second does not, so that no terminal it opens can become its own
(setsid(2), open(2)). Standard input is /dev/null, output a file; every other descriptor of the caller's is closed, for
a pipe that stayed open would keep `prefork start | cat` from ending. Directory and umask stay as they are given.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence

from prefork.system.processes import close_descriptors_except

_RESET = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
"""What shells and nohup ignore for whom they start, which exec keeps."""


def start_detached(  # what a process is made of
    command: Sequence[str],
    *,
    directory: str,
    environ: Mapping[str, str],
    output_fd: int,
    tell_fd: int,
    keep_fds: Iterable[int] = (),
) -> None:
    r"""Start it and return at once.

    `tell_fd` stays open in it, under that number: it gets the line `PID\n` before the program begins, or
    `0 REASON\n` when it cannot. Whoever holds the other end sees it end. Raises OSError if we cannot fork.
    """
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _become(command, directory, environ, output_fd, tell_fd, frozenset(keep_fds))
    except BaseException as error:  # noqa: BLE001  # a copy of our caller must not go on from here
        reason = str(error).partition("] ")[2] or str(error)  # without [Errno 2]
        os.write(tell_fd, f"0 {reason}\n".encode(errors="replace")[:512])
    finally:
        os._exit(127)


def _become(  # as above
    command: Sequence[str],
    directory: str,
    environ: Mapping[str, str],
    output_fd: int,
    tell_fd: int,
    keep_fds: frozenset[int],
) -> None:
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.chdir(directory)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    kept = keep_fds | {tell_fd}
    close_descriptors_except(kept)
    for fd in kept:
        os.set_inheritable(fd, True)
    os.write(tell_fd, b"%d\n" % os.getpid())
    os.execve(command[0], list(command), dict(environ))
