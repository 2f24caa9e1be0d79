"""How long the door waits for whom."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from prefork.serve.door import Door, Stage
from prefork.serve.entrance import LINGER_S, Entrance
from prefork.serve.settings import ServeSettings
from tests.certificates import make_client_context
from tests.serve.accepting import LOOPS, Run, accepting, run_on, wait_until
from tests.serve.introducing import ask, make_tls, open_app

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"

KEEP_ALIVE_S, PATIENCE_S, OPENED, DRAINED = 5.0, 10.0, 100.0, 109.0

DEADLINES: list[tuple[Stage, bool, float | None, float]] = [
    # stage, is it silent, since when we drain, until when it is waited for
    (Stage.HEADER, True, None, OPENED + PATIENCE_S),
    (Stage.HANDSHAKE, False, None, OPENED + PATIENCE_S),
    # It may have been opened long ago, and speak just now.
    (Stage.OPENING, True, DRAINED, DRAINED + KEEP_ALIVE_S),
    (Stage.OPENING, True, OPENED - 50, OPENED + KEEP_ALIVE_S),
    # It has begun, and has no more time than before, nor more than the silent.
    (Stage.HANDSHAKE, False, DRAINED, OPENED + PATIENCE_S),
    (Stage.HANDSHAKE, False, OPENED - 50, OPENED + KEEP_ALIVE_S),
    (Stage.LEAVING, False, None, OPENED + LINGER_S),
    (Stage.LEAVING, False, DRAINED, OPENED + LINGER_S),
]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda test: run_on(request.param, test)


@pytest.mark.parametrize(("stage", "is_silent", "draining_since", "deadline"), DEADLINES)
def test_how_long_is_waited(
    stage: Stage,
    is_silent: bool,
    draining_since: float | None,
    deadline: float,
) -> None:
    async def test() -> None:
        service = open_app("asgi", make_tls(), keep_alive_s=KEEP_ALIVE_S, ssl_handshake_timeout_s=PATIENCE_S)
        entrance = cast("Entrance", service)
        entrance._draining_since = draining_since
        door = Door(entrance)
        door.stage, door.is_silent, door.since = stage, is_silent, OPENED
        assert entrance._find_deadline(door) == deadline

    run_on(asyncio.new_event_loop, test())


def test_without_a_header_timeout_a_header_is_waited_for_until_the_drain() -> None:
    async def test() -> None:
        entrance = cast("Entrance", open_app("asgi", proxy_protocol=True, header_timeout_s=0.0))
        door = Door(entrance)
        assert entrance._find_deadline(door) == float("inf")
        entrance._draining_since = 7.0
        assert entrance._find_deadline(door) == 7.0 + ServeSettings().keep_alive_s

    run_on(asyncio.new_event_loop, test())


def test_behind_a_header_the_client_is_silent_anew(run: Run) -> None:
    """The proxy has spoken, not the client: a drain gives it the time of one that has said nothing."""

    async def test() -> None:
        service = cast("Entrance", open_app("asgi", make_tls(), proxy_protocol=True))
        async with accepting(service) as connect:
            reader, writer = await connect()
            writer.write(LINE)
            await wait_until(lambda: [d.stage for d in service._waiting] == [Stage.OPENING])
            [door] = service._waiting
            assert door.is_silent

            async def same() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                return reader, writer

            assert (await ask(same, "asgi", secure=make_client_context()))["peer"] == ["192.0.2.1", 56324]
            assert not service._waiting

    run(test())
