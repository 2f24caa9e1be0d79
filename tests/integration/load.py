"""A small load: a few threads that ask, and check every answer byte for byte.

What went wrong is sorted by who broke which promise: refused (nobody listens), reset (the kernel threw the connection
away), cut (the response ended early), wrong (it is complete, but not the right one), late (no answer in time).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from tests.integration.http_client import Address, Connection, CutError, MalformedError, Response

Outcome = Literal["ok", "refused", "reset", "cut", "wrong", "late"]

EXAMPLES_KEPT = 10


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


class Load:
    """`with Load(address) as load: …` keeps asking until the block ends; then `load.report` is final.

    `keep_alive` uses a connection until the server says `Connection: close`, else each request has its own.
    `pause_s` is the time each thread waits between two requests.
    """

    def __init__(
        self,
        address: Address,
        expected: bytes | Callable[[Response], bool] = b"Hello, world!",
        *,
        path: str = "/",
        threads: int = 4,
        keep_alive: bool = True,
        pause_s: float = 0.001,
        timeout_s: float = 15.0,
    ) -> None:
        self._address = address
        self._is_right = expected if callable(expected) else lambda response: response.body == expected
        self._path = path
        self._keep_alive = keep_alive
        self._pause_s = pause_s
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._outcomes: Counter[Outcome] = Counter()
        self._examples: list[str] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]

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
        return self.report

    @property
    def report(self) -> Report:
        with self._lock:
            counts = {key: self._outcomes[key] for key in ("ok", "refused", "reset", "cut", "wrong", "late")}
            return Report(**counts, examples=tuple(self._examples))

    @property
    def answered(self) -> int:
        return self._outcomes["ok"]

    def _ask(self) -> None:
        connection: Connection | None = None
        while not self._stop.is_set():
            try:
                connection = connection or Connection(self._address, self._timeout_s)
                response = connection.request(
                    self._path, head="" if self._keep_alive else "Connection: close\r\n"
                )
                right = response.status == 200 and self._is_right(response)
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
