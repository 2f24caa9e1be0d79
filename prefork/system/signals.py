"""Signals as bytes on a descriptor: a handler only makes the kernel write one; a loop reads them in its own time.

Python's C-level handler writes the signal's number into the wakeup descriptor at once, even while Python code runs;
the Python-level handler that must exist beside it does nothing.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable
from types import FrameType

DUMP_STACKS: int = signal.SIGRTMIN + 6 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""Tells a worker to write down its stacks. A real-time signal, because apps use SIGUSR1 and SIGUSR2 themselves."""


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass


class SignalInbox:
    """Signals that arrived and were not read yet. One per process, on its main thread."""

    __slots__ = ("_read", "_write")

    def __init__(self, numbers: Iterable[int]) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        # A full pipe loses only repetitions: 200 kB of unread signals say nothing that one does not.
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, _do_nothing)
            signal.siginterrupt(number, False)

    def fileno(self) -> int:
        """For selectors."""
        return self._read.fileno()

    def take(self) -> list[int]:
        """The numbers of the signals that arrived, in order."""
        try:
            return list(self._read.recv(4096))
        except (BlockingIOError, InterruptedError):
            return []

    def close(self) -> None:
        """Stop listening; handlers stay."""
        signal.set_wakeup_fd(-1)
        self._read.close()
        self._write.close()


def ignore(*numbers: int) -> None:
    """Do nothing on these, by a handler and not SIG_IGN: an exec'd program gets the default back; see signal(7)."""
    for number in numbers:
        signal.signal(number, _do_nothing)


def restore(*numbers: int) -> None:
    """The default actions again."""
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


def dump_stacks_into(fd: int) -> None:
    """From now on DUMP_STACKS makes the kernel-level handler write every thread's stack into `fd`, even while a C call
    holds the interpreter. `fd` must stay open.
    """
    import faulthandler  # noqa: PLC0415 workers only

    # The interpreter gives the signal back on its way out: asked then, there is nobody to dump, and nobody to kill.
    signal.signal(DUMP_STACKS, signal.SIG_IGN)
    faulthandler.register(DUMP_STACKS, file=fd, all_threads=True, chain=False)
    os.set_inheritable(fd, False)


def exit_after(delay_s: float) -> None:
    """End this process that much later whatever its interpreter does then: a watchdog thread below Python."""
    import faulthandler  # noqa: PLC0415 workers only

    faulthandler.dump_traceback_later(delay_s, exit=True)
