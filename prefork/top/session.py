"""The screen, live: one thread that waits for keys, signals and news, and draws. It asks nobody itself, so that a
service that does not answer never holds the keys up.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable
from contextlib import ExitStack
from io import StringIO
from typing import Protocol

from rich.console import Console
from rich.text import Text

from prefork.system import clock
from prefork.system.signals import SignalInbox
from prefork.system.terminal import Terminal, read_size, stop_for_shell
from prefork.top.curves import Glyphs
from prefork.top.drawing import Size, count_visible_rows, draw_screen
from prefork.top.gathering import Answered, Gathered, Mailbox
from prefork.top.keys import split_keys
from prefork.top.watching import Order, Quit, ShowLogs, Watching, press

REDRAW_S = 1.0
SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGWINCH,
)
BY_SIGNAL = 128


class Operator(Protocol):
    """Who carries orders out; what comes of them is posted to the mailbox."""

    def carry_out(self, order: Order) -> None:
        """Begin; never wait."""


class Session:
    """From the first screen to the last. `show_logs` has the terminal to itself until it returns, and returns the
    signal that ended it, if one did.
    """

    def __init__(
        self,
        gathered: Gathered,
        mailbox: Mailbox,
        operator: Operator,
        show_logs: Callable[[ShowLogs, Terminal, SignalInbox], int | None],
        glyphs: Glyphs,
    ) -> None:
        self._gathered = gathered
        self._mailbox = mailbox
        self._operator = operator
        self._show_logs = show_logs
        self._glyphs = glyphs
        self._terminal = Terminal()
        self._watching = Watching()
        self._typed = ""
        self._exit_code: int | None = None

    def run(self) -> int:
        """Until somebody has seen enough: 0, or what a signal makes of it."""
        with ExitStack() as closing:
            closing.callback(self._terminal.leave)
            inbox = SignalInbox(SIGNALS)
            closing.callback(inbox.close)
            self._terminal.enter()
            self._terminal.enter_screen()
            selector = closing.enter_context(selectors.DefaultSelector())
            for source in (self._terminal, inbox, self._mailbox):
                selector.register(source, selectors.EVENT_READ, source)
            while self._exit_code is None:
                self._draw()
                for key, _ in selector.select(REDRAW_S):
                    if key.data is self._terminal:
                        self._hear_keys(inbox)
                    elif key.data is inbox:
                        self._hear_signals(inbox)
                    else:
                        self._hear_news()
        return self._exit_code

    def _draw(self) -> None:
        size = Size(*read_size())
        lines = draw_screen(self._gathered.show(), self._watching, size, self._glyphs, clock.monotonic())
        try:
            self._terminal.show(render(lines, size.width))
        except TimeoutError:  # Ctrl-S: the next screen will be whole again
            return
        except OSError:  # the terminal is gone, and nobody sees us any more
            self._exit_code = BY_SIGNAL + signal.SIGHUP

    def _hear_keys(self, inbox: SignalInbox) -> None:
        typed = self._terminal.read()
        if not typed:  # the terminal is gone
            self._exit_code = 0
            return
        keys, self._typed = split_keys(self._typed + typed)
        for key in keys:
            if self._exit_code is not None:
                return
            services = self._gathered.show()
            page = count_visible_rows(services, self._watching, Size(*read_size()), self._glyphs)
            self._watching, order = press(self._watching, key, services, page)
            if order is not None:
                self._obey(order, inbox)

    def _obey(self, order: Order, inbox: SignalInbox) -> None:
        match order:
            case Quit():
                self._exit_code = 0
            case ShowLogs():
                self._terminal.leave_screen()
                if (number := self._show_logs(order, self._terminal, inbox)) is not None:
                    self._exit_code = BY_SIGNAL + number
                else:
                    self._come_back()
            case _:
                self._operator.carry_out(order)

    def _hear_signals(self, inbox: SignalInbox) -> None:
        for number in inbox.take():
            match number:
                case signal.SIGINT:
                    self._exit_code = 0  # that is how one leaves
                case signal.SIGTERM | signal.SIGHUP | signal.SIGQUIT:
                    self._exit_code = BY_SIGNAL + number
                case signal.SIGTSTP:
                    self._terminal.leave()
                    stop_for_shell()
                    self._come_back()
                case signal.SIGCONT:  # also after a stop that could not be heard
                    self._come_back()
                case _:  # its size has changed: what is drawn next has the new one
                    pass

    def _come_back(self) -> None:
        self._terminal.enter()
        self._terminal.enter_screen()

    def _hear_news(self) -> None:
        for message in self._mailbox.take():
            if isinstance(message, Answered):
                self._watching = self._watching.note(message.text, clock.monotonic())
            else:
                self._gathered.apply(message)


def render(lines: list[Text], width: int) -> list[str]:
    """With the escape sequences of this terminal's colours, or none of them if it has none or nobody wants any."""
    console = Console(
        file=StringIO(),
        force_terminal=True,
        width=width,
        no_color=bool(os.environ.get("NO_COLOR")),
        highlight=False,
    )
    rendered = []
    for line in lines:
        with console.capture() as captured:
            console.print(line, end="", no_wrap=True, overflow="crop", crop=True)
        rendered.append(captured.get())
    return rendered
