"""The lifespan protocol: who speaks it is waited for, who does not is served all the same."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from prefork.errors import AppError
from prefork.serve.lifespan import Lifespan

Scope = dict[str, Any]


def run(app: Any) -> tuple[Lifespan, Any]:
    """Start up and shut down; return the lifespan and what start-up raised."""

    async def both() -> tuple[Lifespan, Any]:
        lifespan = Lifespan(app, asyncio.get_running_loop())
        try:
            await asyncio.wait_for(lifespan.start_up(), 5)
        except AppError as error:
            return lifespan, error
        await asyncio.wait_for(lifespan.shut_down(), 5)
        return lifespan, None

    return asyncio.run(both())


def test_an_app_that_speaks_lifespan_shares_its_state_and_is_told_of_the_end() -> None:
    heard: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        assert (scope["type"], scope["asgi"]["version"]) == ("lifespan", "3.0")
        scope["state"]["pool"] = 1
        heard.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        heard.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    lifespan, error = run(app)
    assert error is None
    assert lifespan.state == {"pool": 1}
    assert heard == ["lifespan.startup", "lifespan.shutdown"]


def test_an_app_that_raises_at_once_does_not_speak_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        raise ValueError("only http here")

    caplog.set_level(logging.DEBUG, "prefork")
    assert run(app)[1] is None
    assert [record.levelno for record in caplog.records if record.name.startswith("prefork")] == [
        logging.DEBUG
    ]


def test_an_app_that_returns_at_once_is_served() -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        pass

    assert run(app)[1] is None


@pytest.mark.parametrize("raises", [True, False])
def test_an_app_that_refuses_to_start_is_an_app_error_with_its_words(raises: bool) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        if raises:
            raise SystemExit(3)

    error = run(app)[1]
    assert isinstance(error, AppError)
    assert "no database" in error.message


@pytest.mark.parametrize("by", ["message", "exception"])
def test_what_goes_wrong_at_shutdown_is_logged_not_raised(by: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if by == "exception":
            raise ValueError("at the end")
        await send({"type": "lifespan.shutdown.failed", "message": "at the end"})

    assert run(app)[1] is None
    assert any("at the end" in (record.exc_text or "") + record.getMessage() for record in caplog.records)
