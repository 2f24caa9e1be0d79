"""Notes the moment of each worker's first answer: a line `PID TIME` in $FIRST_SERVED."""

import os
import time

from bench_app import asgi as hello

served = False


async def asgi(scope, receive, send):
    global served
    await hello(scope, receive, send)
    if not served and scope["type"] == "http":
        served = True
        with open(os.environ["FIRST_SERVED"], "a") as notes:
            notes.write(f"{os.getpid()} {time.time()}\n")
