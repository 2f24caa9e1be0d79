"""Who answers: pid, parent, slot, user and open descriptors of the worker, as JSON."""

import json
import os
from pathlib import Path


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = json.dumps(describe()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def describe():
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "slot": os.environ.get("PREFORK_WORKER_ID"),
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": os.getgroups(),
        "fds": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "imported_as": IMPORTED_AS,
        "imported_in": IMPORTED_IN,
    }


IMPORTED_AS = os.getuid()
IMPORTED_IN = os.getpid()
