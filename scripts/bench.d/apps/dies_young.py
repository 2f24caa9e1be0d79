"""Starts, notes it (a line `PID TIME` in $STARTS), and dies 0.3 s later."""

import asyncio
import os
import time

from bench_app import asgi as hello


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        with open(os.environ["STARTS"], "a") as notes:
            notes.write(f"{os.getpid()} {time.time()}\n")
        asyncio.get_running_loop().call_later(0.3, os._exit, 1)
    await hello(scope, receive, send)
