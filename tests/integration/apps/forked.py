"""What a worker can tell of its own fork: who it is, in which processes the hook ran, and a random number."""

import json
import os
import random

import prefork

FORKED_IN = []
os.register_at_fork(after_in_child=lambda: FORKED_IN.append(os.getpid()))


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
        "said_pid": prefork.worker.pid,
        "slot": prefork.worker.slot,
        "variable": os.environ.get("PREFORK_WORKER_ID"),
        "forked_in": FORKED_IN,
        "random": random.random(),
    }
