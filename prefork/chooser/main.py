"""What the chooser's fresh interpreter runs: import a strategy of the user's, and call it for the master.

A process of its own, because a strategy is code of the user's: in the master, which may be root, it could block every
signal and every worker, and its imports would stay in memory for ever. Here it may raise, hang or die. The master asks,
waits for nothing, and takes the next in turn if there is no answer. The chooser ends with its master.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from contextlib import suppress

from prefork.core.balance import Candidate
from prefork.errors import AppError, PreforkError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_chooser
from prefork.ipc.foreign import describe_failure, fit
from prefork.serve.app import load_function
from prefork.system import titles
from prefork.system.attending import attend_master, change_identity
from prefork.system.channel import Channel

WHY_CHARS = 200


def main(argv: list[str]) -> int:
    """The chooser's whole life. `argv`: where the master's prefork is, and the channel's descriptor."""
    Chooser(attend_master(argv)).run()
    return 0


class Chooser:
    """Answers one question after the other, until the master has gone."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._strategy: Callable[..., object] | None = None

    def run(self) -> None:
        reader = read_from_master_as_chooser()
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            while True:
                selector.select()
                data = self._channel.receive()
                if data is None:
                    return
                for message in reader.feed(data):
                    if isinstance(message, say.Choose):
                        self._tell(self._answer(message))
                    elif not self._load(message):
                        return

    def _load(self, order: say.LoadStrategy) -> bool:
        titles.set_title(f"prefork: chooser {order.name}")
        try:
            change_identity(order.user, order.group)
            os.chdir(order.chdir)
            self._strategy = load_function(order.strategy, order.app_dir)
            try_out(self._strategy, order.strategy)
        except PreforkError as error:
            self._tell(say.StrategyRefused(*describe_failure(error)))
            return False
        except OSError as error:
            self._tell(say.StrategyRefused(f"cannot enter {order.chdir}: {error.strerror}"))
            return False
        self._tell(say.StrategyLoaded())
        return True

    def _answer(self, question: say.Choose) -> say.Chosen:
        candidates = [Candidate(*each) for each in question.candidates]
        turn = max(candidate.turn for candidate in candidates)
        serials: list[int | None] = []
        why = ""
        for address in question.addresses:
            try:
                chosen = choose(self._strategy, candidates, address)
            except BaseException as error:  # noqa: BLE001  # SystemExit too: it is not the strategy's to end us
                why = why or fit(f"{type(error).__name__}: {error}", WHY_CHARS)
                serials.append(None)
                continue
            turn += 1
            chosen.turn = turn
            chosen.connections += 1
            chosen.in_flight += 1
            serials.append(chosen.serial)
        return say.Chosen(question.number, tuple(serials), why)

    def _tell(self, message: say.Message) -> None:
        self._channel.send(encode(message))


def choose(strategy: Callable[..., object] | None, candidates: list[Candidate], address: str) -> Candidate:
    """What it says. Raises whatever it raises, and TypeError if it does not say one of the candidates."""
    chosen = strategy(tuple(candidates), address) if strategy is not None else None
    if not isinstance(chosen, Candidate) or chosen not in candidates:
        raise TypeError(f"it chose {chosen!r:.60}, not one of the candidates")
    return chosen


def try_out(strategy: Callable[..., object], name: str) -> None:
    """Call it once for two idle workers. Raises `AppError`."""
    try:
        choose(strategy, [Candidate(0, 1), Candidate(1, 2)], "127.0.0.1")
    except BaseException as error:  # as above
        why = ""
        with suppress(Exception):
            why = fit(f"{type(error).__name__}: {error}", WHY_CHARS)
        raise AppError(
            f"{name} is no strategy: {why}",
            "it is called with the candidates and the client's address, and returns one of the candidates",
        ) from error
