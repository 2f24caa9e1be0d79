"""Shutdown hooks: each is told once, none can keep the worker, or another hook, from its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import pytest

from prefork.system import clock
from prefork.worker.farewell import Farewell
from tests.serve.accepting import LOOPS, Run, run_on

WHO: dict[str, object] = {"slot": 1, "gen": 2}


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda test: run_on(request.param, test)


def test_every_hook_is_told_once_whatever_it_is_made_of(run: Run) -> None:
    told: list[tuple[str, str, float]] = []

    def plain(reason: str, deadline: float) -> None:
        told.append(("plain", reason, deadline))

    async def later(reason: str, deadline: float) -> None:
        await asyncio.sleep(0.01)
        told.append(("later", reason, deadline))

    def made(reason: str, deadline: float) -> Awaitable[None]:
        return later(reason, deadline)

    async def test() -> None:
        farewell = Farewell(asyncio.get_running_loop(), WHO)
        deadline = clock.monotonic() + 5
        farewell.begin([plain, later, made], "reload", deadline)
        farewell.begin([plain, later, made], "SIGTERM", deadline - 1)
        assert told == [("plain", "reload", deadline)]
        await farewell.wait()
        assert told[1:] == [("later", "reload", deadline)] * 2
        await farewell.end()

    run(test())


def test_what_hooks_raise_is_logged_with_its_traceback(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    def leaves(reason: str, deadline: float) -> None:
        raise SystemExit(reason)

    async def breaks(reason: str, deadline: float) -> None:
        await asyncio.sleep(0)
        raise KeyboardInterrupt(reason)

    async def is_cancelled(reason: str, deadline: float) -> None:
        raise asyncio.CancelledError(reason)

    async def test() -> None:
        farewell = Farewell(asyncio.get_running_loop(), WHO)
        farewell.begin([leaves, breaks, is_cancelled], "why", clock.monotonic() + 5)
        await farewell.wait()
        await farewell.end()

    run(test())
    said = [
        (record.getMessage(), vars(record)["slot"], type((record.exc_info or [0, 0])[1]))
        for record in caplog.records
    ]
    assert said == [
        ("shutdown hook raised", 1, SystemExit),
        ("shutdown hook raised", 1, asyncio.CancelledError),
        ("shutdown hook raised", 1, KeyboardInterrupt),
    ]


@pytest.mark.parametrize("clings", [False, True])
def test_who_does_not_end_is_cancelled_when_its_time_is_over(
    run: Run, caplog: pytest.LogCaptureFixture, clings: bool
) -> None:
    caught: list[str] = []

    async def hangs(reason: str, deadline: float) -> None:
        while True:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                caught.append(reason)
                if not clings or len(caught) > 1:
                    raise

    async def test() -> None:
        farewell = Farewell(asyncio.get_running_loop(), WHO)
        began = clock.monotonic()
        farewell.begin([hangs], "SIGTERM", began + 60)
        farewell.begin([hangs], "quick stop", began + 0.1)  # the nearer deadline counts
        await farewell.end()
        assert 0.09 <= clock.monotonic() - began < 2
        assert caught == ["SIGTERM"]

    run(test())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cancelled" in caplog.text


def test_an_end_without_hooks_takes_no_time(run: Run) -> None:
    async def test() -> None:
        farewell = Farewell(asyncio.get_running_loop(), WHO)
        await farewell.wait()
        await farewell.end()

    run(test())
