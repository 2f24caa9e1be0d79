"""A worker's log, on the terminal that `top` has: `prefork logs -f` shows it, and q or Ctrl-C leads back."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress

from prefork.system.signals import SignalInbox
from prefork.system.terminal import Terminal, stop_for_shell
from prefork.top.watching import ShowLogs

# The same prefork is found from wherever we are, and nothing of the current directory before it.
_CHILD = """
import sys
sys.path[:] = sys.argv.pop().split({separator!r})
from prefork.cli.main import main
sys.exit(main())
"""
LEAVING_S = 2.0
"""Who has not ended so long after it was asked to is killed."""
LOOK_S = 0.2
"""How often we look whether it has ended."""
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def show_logs(order: ShowLogs, terminal: Terminal, inbox: SignalInbox) -> int | None:
    """Until somebody has seen enough, or a signal (returned) ends us all."""
    terminal.write(f"log of {order.service}, slot {order.slot}: q or Ctrl-C leads back\r\n")
    child = _start(["logs", order.service, "-f", "--worker", str(order.slot)])
    try:
        return _watch(child, terminal, inbox)
    finally:
        child.terminate()
        try:
            child.wait(LEAVING_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100  # a search path is text
    command = [sys.executable, "-c", _CHILD.format(separator=os.pathsep), *words, path]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603  # our own interpreter, our own words


def _watch(child: subprocess.Popen[bytes], terminal: Terminal, inbox: SignalInbox) -> int | None:
    has_ended = False
    with selectors.DefaultSelector() as selector:
        for source in (terminal, inbox):
            selector.register(source, selectors.EVENT_READ, source)
        while True:
            if not has_ended and child.poll() is not None:
                has_ended = True
                terminal.write("\r\nThat was all; any key leads back.\r\n")
            for key, _ in selector.select(LOOK_S):
                if key.data is terminal:
                    typed = terminal.read()
                    if has_ended or not typed or "q" in typed or "\x1b" in typed:
                        return None
                    continue
                for number in inbox.take():
                    if number == signal.SIGINT:
                        return None
                    if number in ENDING:
                        return number
                    if number == signal.SIGTSTP:
                        _stop(terminal)


def _stop(terminal: Terminal) -> None:
    # The terminal has told the child too: they stop together, and `fg` wakes both.
    terminal.leave()
    stop_for_shell()
    with suppress(OSError):
        terminal.enter()
