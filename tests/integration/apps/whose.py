"""Which worker answers: its slot and pid. `/hold?s=0.2` awaits first, `/block?s=2` sleeps with the loop in its hand."""

import asyncio
import os
import time
from urllib.parse import parse_qs


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    seconds = float(parse_qs(scope["query_string"].decode()).get("s", ["0"])[0])
    if scope["path"] == "/hold":
        await asyncio.sleep(seconds)
    elif scope["path"] == "/block":
        time.sleep(seconds)
    body = f"{os.environ['PREFORK_WORKER_ID']} {os.getpid()}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
