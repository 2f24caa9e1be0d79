"""`/hold` notes that it is held (a file `held`) and answers when a file `release` is there; all else at once.

Every answer is the generation of the worker that gives it.
"""

import asyncio
from pathlib import Path

import prefork


async def app(scope, receive, send):
    if scope["type"] != "http":
        msg = "no lifespan here"
        raise NotImplementedError(msg)
    if scope["path"] == "/hold":
        Path("held").touch()
        while not Path("release").exists():
            await asyncio.sleep(0.01)
    body = b"%d" % prefork.worker.generation
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
