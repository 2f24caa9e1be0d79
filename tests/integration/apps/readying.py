"""Says that it is ready from where the file `ready_from` in its folder says."""

import asyncio
import threading
from pathlib import Path

import prefork

FROM = Path("ready_from").read_text().strip()
tasks = []

if FROM == "import":
    assert not prefork.ready() or prefork.worker
if FROM == "thread":
    threading.Timer(0.2, prefork.ready).start()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if FROM == "lifespan":
            assert prefork.ready()
        if FROM == "task":
            tasks.append(asyncio.ensure_future(get_ready()))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"ready"})


async def get_ready():
    await asyncio.sleep(0.2)
    assert prefork.ready()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"ready"]
