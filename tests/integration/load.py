"""A small load: a few threads that ask, and check every answer byte for byte. `scripts/bench` loads peers with it.

What went wrong is sorted by who broke which promise: refused (nobody listens), reset (the kernel threw the connection
away), cut (the response ended early), wrong (it is complete, but not the right one), late (no answer in time).
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from tests.integration.http_client import Address, Connection, CutError, MalformedError, Response

Outcome = Literal["ok", "refused", "reset", "cut", "wrong", "late"]

EXAMPLES_KEPT = 10
NOISE = random.Random(1).randbytes(150_000)
"""What bodies are cut from."""


@dataclass(frozen=True)
class Question:
    """What is asked, and which answer is right. With a body it is a POST."""

    path: str
    body: bytes
    is_right: Callable[[Response], bool]


@dataclass(frozen=True)
class Report:
    ok: int
    refused: int = 0
    reset: int = 0
    cut: int = 0
    wrong: int = 0
    late: int = 0
    examples: tuple[str, ...] = ()
    """The first failures, for the eyes of who reads the assertion."""

    @property
    def lost(self) -> int:
        """All that was not answered as it should be."""
        return self.refused + self.reset + self.cut + self.wrong + self.late

    @classmethod
    def sum_up(cls, reports: Iterable[Report]) -> Report:
        reports = list(reports)
        return cls(
            ok=sum(report.ok for report in reports),
            refused=sum(report.refused for report in reports),
            reset=sum(report.reset for report in reports),
            cut=sum(report.cut for report in reports),
            wrong=sum(report.wrong for report in reports),
            late=sum(report.late for report in reports),
            examples=tuple(example for report in reports for example in report.examples),
        )


class Load:
    """`with Load(address) as load: …` keeps asking until the block ends; then `load.report` is final.

    `keep_alive` uses a connection until the server says `Connection: close`, else each request has its own. One that
    the server closes without having said so costs the next request: it counts as cut or reset.
    `ask` makes each question anew; without it every one is for `path`, and `expected` is the answer.
    `pause_s` is the time each thread waits between two requests.
    """

    def __init__(
        self,
        address: Address,
        expected: bytes | Callable[[Response], bool] = b"Hello, world!",
        *,
        path: str = "/",
        ask: Callable[[random.Random], Question] | None = None,
        threads: int = 4,
        keep_alive: bool = True,
        pause_s: float = 0.001,
        timeout_s: float = 15.0,
    ) -> None:
        same = Question(
            path, b"", expected if callable(expected) else lambda response: response.body == expected
        )
        self._address = address
        self._make_question = ask or (lambda _: same)
        self._keep_alive = keep_alive
        self._pause_s = pause_s
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._outcomes: Counter[Outcome] = Counter()
        self._examples: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=[random.Random(number)], daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> Report:
        """Let every thread finish the request it is in."""
        self._stop.set()
        for thread in self._threads:
            thread.join(self._timeout_s + 5)
            assert not thread.is_alive(), "a client hangs"
        return self.report

    @property
    def report(self) -> Report:
        with self._lock:
            counts = {key: self._outcomes[key] for key in ("ok", "refused", "reset", "cut", "wrong", "late")}
            return Report(**counts, examples=tuple(self._examples))

    @property
    def answered(self) -> int:
        return self._outcomes["ok"]

    def _ask(self, rng: random.Random) -> None:
        connection: Connection | None = None
        head = "" if self._keep_alive else "Connection: close\r\n"
        while not self._stop.is_set():
            question = self._make_question(rng)
            method = "POST" if question.body else "GET"
            try:
                connection = connection or Connection(self._address, self._timeout_s)
                response = connection.request(question.path, method=method, head=head, body=question.body)
                right = response.status == 200 and question.is_right(response)
                self._count("ok" if right else "wrong", f"{response.status} {response.body[:100]!r}")
                if self._keep_alive and right and not response.says_close():
                    self._stop.wait(self._pause_s)
                    continue
            except ConnectionRefusedError as error:
                self._count("refused", repr(error))
            except (ConnectionError, BrokenPipeError) as error:
                self._count("reset", repr(error))
            except CutError as error:
                self._count("cut", repr(error))
            except MalformedError as error:
                self._count("wrong", repr(error))
            except TimeoutError as error:
                self._count("late", repr(error))
            if connection is not None:
                connection.close()
                connection = None
            self._stop.wait(self._pause_s)
        if connection is not None:
            connection.close()

    def _count(self, outcome: Outcome, example: str) -> None:
        with self._lock:
            self._outcomes[outcome] += 1
            if outcome != "ok" and len(self._examples) < EXAMPLES_KEPT:
                self._examples.append(f"{outcome}: {example}")


class MixedLoad:
    """Keep-alive GET, keep-alive POST and a connection per request, at once, on an app that answers like `echoes`."""

    def __init__(self, address: Address, *, threads: int = 2, timeout_s: float = 15.0) -> None:
        """`threads` of each of the three."""
        self._loads = [
            Load(address, ask=ask, keep_alive=keep_alive, threads=threads, timeout_s=timeout_s)
            for ask, keep_alive in ((ask_get, True), (ask_post, True), (ask_either, False))
        ]
        self._running = ExitStack()

    def __enter__(self) -> MixedLoad:
        for load in self._loads:
            self._running.enter_context(load)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def report(self) -> Report:
        return Report.sum_up(load.report for load in self._loads)

    @property
    def answered(self) -> int:
        """By the kind that was answered least: none of them may stand still."""
        return min(load.answered for load in self._loads)


def ask_get(rng: random.Random) -> Question:
    return expect_echo(f"/get?{rng.random()}", b"")


def ask_post(rng: random.Random) -> Question:
    size = rng.choice([1, 100, 5_000, 40_000, 100_000])
    start = rng.randrange(len(NOISE) - size)
    return expect_echo(f"/post?{rng.random()}", NOISE[start : start + size])


def ask_either(rng: random.Random) -> Question:
    return rng.choice([ask_get, ask_post])(rng)


def expect_echo(path: str, body: bytes) -> Question:
    """The answer is `NUMBER METHOD PATH SHA256 BODY`; the number says who answers, and may be any."""
    method = "POST" if body else "GET"
    echo = f"{method} {path} {hashlib.sha256(body).hexdigest()} ".encode() + body

    def is_right(response: Response) -> bool:
        number, _, rest = response.body.partition(b" ")
        return number.isdigit() and rest == echo

    return Question(path, body, is_right)
