"""Serves, then dies: $LIVES_S seconds after its startup, in every worker whose slot is in $DYING_SLOTS (default: all).

Each start of a worker adds a line to starts.txt, so that the forks can be counted.
"""

import asyncio
import os
import time
from pathlib import Path

from hello_asgi import app as hello


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        with Path("starts.txt").open("a") as starts:
            starts.write(f"{time.time()} {os.getpid()}\n")
        if is_dying():
            asyncio.get_running_loop().call_later(float(os.environ.get("LIVES_S", "0.3")), os._exit, 7)
    await hello(scope, receive, send)


def is_dying():
    slots = os.environ.get("DYING_SLOTS")
    return slots is None or os.environ.get("PREFORK_WORKER_ID") in slots.split(",")
