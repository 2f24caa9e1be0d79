"""Says which slot answers. `HANDED` says what goes wrong in slot 0: it dies with what it has just been handed, or its
first worker never acknowledges it. `/block` holds the loop for as long as the query says.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from prefork.system.handover import Inlet

acknowledge = Inlet.acknowledge


def die(inlet, sequence, taken):
    if os.environ["PREFORK_WORKER_ID"] != "0" or not taken:
        return acknowledge(inlet, sequence, taken)
    with Path("killed").open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    return False


def say_nothing(inlet, sequence, taken):
    if os.environ["PREFORK_WORKER_ID"] != "0" or not is_first():
        return acknowledge(inlet, sequence, taken)
    return False


def is_first():
    pid = str(os.getpid())
    with suppress(FileExistsError), Path("mute").open("x") as file:
        file.write(pid)
    return Path("mute").read_text() == pid


if fault := {"die": die, "mute": say_nothing}.get(os.environ.get("HANDED", "")):
    Inlet.acknowledge = fault


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/block":
        time.sleep(float(scope["query_string"]))
    body = os.environ["PREFORK_WORKER_ID"].encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
