"""Counts its own life in a file: one line `EVENT PID` per import, startup, shutdown and request."""

import os
from pathlib import Path

from hello_asgi import app as hello


def count(event):
    # One write of one line: appends of several processes do not mix.
    with Path("counts.txt").open("a") as counts:
        counts.write(f"{event} {os.getpid()}\n")


count("import")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        count("startup")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        count("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    count("request")
    await hello(scope, receive, send)
