"""Who answers: the pid of the worker, after a moment in which it is somebody else's turn."""

import asyncio
import os


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await asyncio.sleep(0.002)
    body = b"%d" % os.getpid()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
