"""A loop that did not run has not seen what came meanwhile: nobody is hung up on for our own silence."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.serve.serving import DEADLINE_S, GET, HOST, serving, wait_until

pytestmark = [
    pytest.mark.parametrize("loop", ["uvloop", "asyncio"]),
    pytest.mark.parametrize("interface", ["asgi", "wsgi"]),
]

PATIENCE_S = 0.2


class Blocking:
    """An app that holds the loop on `/block` until it is released."""

    def __init__(self) -> None:
        self.is_held = threading.Event()
        self.release = threading.Event()

    def hold(self, path: str) -> None:
        if path == "/block":
            self.is_held.set()
            assert self.release.wait(DEADLINE_S)

    async def asgi(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        self.hold(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        self.hold(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"ok"]


@pytest.mark.parametrize("rest", [GET, GET[5:]], ids=["idle", "half a head"])
def test_who_spoke_while_the_loop_was_blocked_is_answered(interface: str, loop: str, rest: bytes) -> None:
    app = Blocking()
    patience: dict[str, Any] = {"keep_alive_s": PATIENCE_S, "header_timeout_s": PATIENCE_S}
    with serving(getattr(app, interface), interface, loop, **patience) as served:
        clients = [served.connect() for _ in range(8)]
        for client in clients:
            assert client.ask(GET).status == 200
            client.send(GET[: len(GET) - len(rest)])
        blocker = served.connect()
        blocker.send(b"GET /block HTTP/1.1\r\n" + HOST + b"\r\n")
        assert app.is_held.wait(DEADLINE_S)
        for client in clients:
            client.send(rest)
        late = time.monotonic() + 2 * PATIENCE_S
        wait_until(lambda: time.monotonic() > late)
        app.release.set()
        assert [client.read_response().status for client in (blocker, *clients)] == [200] * 9


def test_a_silent_connection_is_closed_all_the_same(interface: str, loop: str) -> None:
    app = Blocking()
    app.release.set()
    with serving(getattr(app, interface), interface, loop, keep_alive_s=PATIENCE_S) as served:
        client = served.connect()
        assert client.ask(GET).status == 200
        assert client.is_closed()
