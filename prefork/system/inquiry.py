"""A short-lived interpreter that runs a file of the user's and answers one question about it.

It is started, heard and ended; whoever may not wait hangs it into a selector. It has a session of its own, so nothing
that it starts keeps anybody's terminal.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Mapping
from typing import NamedTuple

from prefork.system import clock, processes

READ_BYTES = 65536
MOST_BYTES = 1024 * 1024
"""A longer answer is none."""
# By its path, and with nothing of ours on sys.path.
RUN_FILE = "import sys; path = sys.argv.pop(1); exec(compile(open(path, 'rb').read(), path, 'exec'))"


class Answer(NamedTuple):
    """What came back."""

    text: bytes
    is_late: bool
    """It was ended, for its time was over."""
    how: str = ""
    """How it ended, in words, if we have waited for that: `exit 1`."""


class Inquiry:
    """One interpreter and its answer so far. `script` gets the number of the descriptor to answer on and `arguments`;
    `limit_s` is how long it may take. Raises OSError.
    """

    def __init__(self, script: str, arguments: list[str], environ: Mapping[str, str], limit_s: float) -> None:
        self.deadline = clock.monotonic() + limit_s
        """Monotonic seconds."""
        self._text = bytearray()
        self._fd, theirs = os.pipe()
        try:
            argv = [script, str(theirs), *arguments]
            self._pid = processes.start_python(sys.executable, RUN_FILE, argv, theirs, environ)
        except BaseException:
            os.close(self._fd)
            raise
        finally:
            os.close(theirs)
        self._pidfd = processes.open_pidfd(self._pid)
        os.set_blocking(self._fd, False)

    def fileno(self) -> int:
        """For selectors."""
        return self._fd

    def receive(self) -> bool:
        """Take what there is; was that all? Never blocks."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        self._text += data
        return not data or len(self._text) > MOST_BYTES

    def end(self) -> Answer:
        """Take no more of it. Whoever reaps, reaps it."""
        is_late = clock.monotonic() >= self.deadline
        processes.send_signal(self._pid, self._pidfd, signal.SIGKILL)
        os.close(self._fd)
        if self._pidfd is not None:
            os.close(self._pidfd)
        return Answer(bytes(self._text), is_late)

    def wait(self) -> Answer:
        """For whoever has nothing else to do: its whole answer, or what there was when its time was over."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while (left_s := self.deadline - clock.monotonic()) > 0:
            if poll.poll(left_s * 1000) and self.receive():
                break
        answer = self.end()
        return answer._replace(how=processes.wait_for_end(self._pid))
