"""Hangs in the ways that apps do: `/hold` the loop, `/await`, `/thread`, `/stream`; `wsgi` in its own thread."""

import asyncio
import time


async def wait_long(seconds):
    await asyncio.sleep(seconds)


def hold_long(seconds):
    time.sleep(seconds)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    match scope["path"]:
        case "/hold":
            hold_long(1.2)
        case "/await":
            await wait_long(0.6)
        case "/thread":
            await asyncio.to_thread(hold_long, 0.6)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.3)
    await send({"type": "http.response.body", "body": b"done"})


def wsgi(environ, start_response):
    hold_long(0.6)
    start_response("201 Created", [])
    return [b"done"]
