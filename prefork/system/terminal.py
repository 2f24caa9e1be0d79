"""A terminal that one program has to itself for a while: keys as they are pressed, a screen that leaves nothing behind.

Whatever ends that while, `leave` gives the terminal back as it was.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from contextlib import suppress

_SECOND_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""Its own screen, no cursor, lines that are too long are cut; see xterm's ctlseqs."""
_FIRST_SCREEN = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_TOGETHER, _DONE = "\x1b[?2026h", "\x1b[?2026l"
"""What is between the two is shown at once, by terminals that know these."""
WRITE_TIMEOUT_S = 1.0


class Terminal:
    """Standard input and output, if both are one."""

    def __init__(self) -> None:
        self._before: list[object] | None = None
        self._is_second = False

    def fileno(self) -> int:
        """For selectors: readable when somebody has pressed a key."""
        return sys.stdin.fileno()

    def enter(self) -> None:
        """Keys come at once and are not shown. Raises OSError if there is no terminal. Again, it does it again: another
        program may have had the terminal meanwhile.
        """
        try:
            if self._before is None:
                self._before = termios.tcgetattr(self.fileno())
            tty.setcbreak(self.fileno(), termios.TCSADRAIN)
        except termios.error as error:
            raise OSError(*error.args) from None

    def leave(self) -> None:
        """As it was before. Never raises: the terminal may be gone."""
        self.leave_screen()
        if self._before is not None:
            with suppress(termios.error, OSError):
                termios.tcsetattr(self.fileno(), termios.TCSADRAIN, self._before)  # type: ignore[arg-type]  # as it gave it
            self._before = None

    def enter_screen(self) -> None:
        """A screen of our own; what stood there comes back afterwards."""
        self._is_second = True
        self.write(_SECOND_SCREEN)

    def leave_screen(self) -> None:
        """The first one again."""
        if self._is_second:
            self._is_second = False
            with suppress(OSError):
                self.write(_FIRST_SCREEN)

    def show(self, lines: list[str]) -> None:
        """Put these lines on the screen, one for each that it has, without a flicker. Raises OSError."""
        # Erased before it is written: behind a line as wide as the screen, "to its end" takes the last character too.
        drawn = "\r\n".join(f"\x1b[K{line}\x1b[m" for line in lines)
        self.write(f"{_TOGETHER}\x1b[H{drawn}{_DONE}")

    def read(self) -> str:
        """What was typed. Empty at its end: the terminal is gone."""
        try:
            return os.read(self.fileno(), 4096).decode(errors="replace")
        except OSError:
            return ""

    def write(self, text: str) -> None:
        """All of it, or TimeoutError: somebody may have stopped the output with Ctrl-S."""
        data = memoryview(text.encode(sys.stdout.encoding or "utf-8", "replace"))
        while data:
            if not select.select([], [sys.stdout.fileno()], [], WRITE_TIMEOUT_S)[1]:
                raise TimeoutError("the terminal takes nothing")
            data = data[os.write(sys.stdout.fileno(), data[:1024]) :]


def are_terminals() -> bool:
    """Are standard input and output both terminals?"""
    return os.isatty(0) and os.isatty(1)


def read_size(fallback: tuple[int, int] = (80, 24)) -> tuple[int, int]:
    """Columns and lines of standard output, now."""
    try:
        columns, lines = os.get_terminal_size(1)
    except OSError:
        return fallback
    return columns or fallback[0], lines or fallback[1]


def stop_for_shell() -> None:
    """What Ctrl-Z does by itself; returns when the shell's `fg` has brought us back."""
    ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, ours)
