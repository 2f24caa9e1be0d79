"""Forks a child when it is imported, and at `/fork`; both outlive everything. Their pids are in the file `children`."""

import os
import time
from pathlib import Path


def fork_sleeper():
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    with Path("children").open("a") as file:
        file.write(f"{pid}\n")


fork_sleeper()


async def app(scope, receive, send):
    if scope["type"] != "http":
        msg = "no lifespan here"
        raise NotImplementedError(msg)
    if scope["path"] == "/fork":
        fork_sleeper()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
