"""Orders from the keyboard → requests to a master, each on a thread of its own: the screen goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

from prefork.control.requests import AnyRequest, AskReload, AskRestart, AskScale, Done
from prefork.errors import PreforkError
from prefork.top.feed import ANSWER_S, Connect, Line, ask_status
from prefork.top.gathering import Answered, Mailbox
from prefork.top.watching import Order, Reload, Restart, Scale


class Operator:
    """Carries orders out, and posts what came of them."""

    def __init__(self, connect: Connect, mailbox: Mailbox, poke: Callable[[str], None]) -> None:
        self._connect = connect
        self._mailbox = mailbox
        self._poke = poke

    def carry_out(self, order: Order) -> None:
        """Begin; never wait."""
        if isinstance(order, Reload | Scale | Restart):
            threading.Thread(target=self._carry_out, args=[order], daemon=True).start()

    def _carry_out(self, order: Reload | Scale | Restart) -> None:
        try:
            with self._connect(order.service) as line:
                text = f"{order.service}: {give(order, line)}"
        except PreforkError as error:
            text = f"{order.service}: error: {error.message}"
        self._mailbox.post(Answered(text))
        self._poke(order.service)


def give(order: Reload | Scale | Restart, line: Line) -> str:
    """Ask for it, and say what came of it. Raises PreforkError."""
    request: AnyRequest
    match order:
        case Reload():
            request, said = AskReload(), "reloading"
        case Scale(by=by):
            request, said = AskScale(by=by), f"one worker {'more' if by > 0 else 'less'}"
        case Restart(slot=slot, pid=pid):
            if pid not in [worker.pid for worker in ask_status(line).workers if worker.slot == slot]:
                return f"pid {pid} is gone already, nothing was asked"
            request, said = AskRestart(slot=slot), f"the worker of slot {slot} is being replaced"
    for answer in line.ask(request, silence_s=ANSWER_S):
        if isinstance(answer, Done) and answer.message:
            said = answer.message
    return said
