"""What a drain may meet half-way, over ASGI and WSGI.

`/` gives the body back (`ok` for none), `/stream` is eight chunked megabytes, `/events` never ends, `/held` waits until
somebody writes to the FIFO `held`.
"""

import asyncio
import itertools
import threading
from pathlib import Path

PIECES = [bytes([65 + number % 26]) * 65536 for number in range(128)]
EVENT = b"data: tick\n\n"


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    match scope["path"]:
        case "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in PIECES:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        case "/events":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
            await asyncio.Event().wait()
        case "/held":
            await asyncio.get_running_loop().run_in_executor(None, wait_released)
            await answer(send, b"ok")
        case _:
            await answer(send, await read_body(receive) or b"ok")


async def read_body(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def answer(send, body):
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    match environ["PATH_INFO"]:
        case "/stream":
            start_response("200 OK", [])
            return iter(PIECES)
        case "/events":
            start_response("200 OK", [])
            return events(may_wait=environ["wsgi.multithread"])
        case "/held":
            wait_released()
    body = environ["wsgi.input"].read() or b"ok"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def events(*, may_wait):
    if may_wait:
        yield EVENT
        threading.Event().wait()
    for _ in itertools.count():  # inline, the client's slowness is all that lets the others have a turn
        yield PIECES[0]


def wait_released():
    Path("held").read_bytes()
