"""Prints, in many ways. `PRINT_LINES`: so many numbered lines when a worker starts, some long, some tracebacks."""

import logging
import os
import subprocess
import sys
import traceback

print("imported")
logging.basicConfig(format="%(message)s")


def print_many(count):
    for number in range(count):
        print(number, "é" * (number % 4000 if number % 100 == 0 else 10))
        if number % 1000 == 0:
            try:
                int(f"no number {number}")
            except ValueError:
                traceback.print_exc()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print_many(int(os.environ.get("PRINT_LINES", "0")))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("no line end", end="")
        await send({"type": "lifespan.shutdown.complete"})
        return
    print("\x1b[31mcolour\x1b[0m tty", sys.stdout.isatty())
    logging.getLogger("shop").warning("by a handler")
    if scope["path"] == "/child":
        subprocess.run(["echo", "by a child"], stdout=sys.stdout, check=True)
    if scope["path"] == "/many":
        print_many(2000)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"printed"})
