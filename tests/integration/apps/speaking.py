"""An app that uses all of `prefork`'s words, and prints one JSON object for whatever it is told."""

import asyncio
import json
import os
import time
from contextlib import suppress
from urllib.parse import parse_qs

import prefork

HELD = []
HOOK = os.environ.get("HOOK", "")


def tell(**what):
    print(json.dumps({"slot": prefork.worker.slot, "gen": prefork.worker.generation, **what}), flush=True)


@prefork.on_shutdown
def told(reason, deadline):
    tell(told="sync", reason=reason, left=deadline - time.monotonic())
    if HOOK == "raises":
        raise SystemExit("the sync hook ends it")


@prefork.on_shutdown
async def told_too(reason, deadline):
    tell(told="async", reason=reason, left=deadline - time.monotonic())
    if HOOK == "raises":
        raise ValueError("the async hook is broken")
    if HOOK == "hangs":
        await asyncio.sleep(600)
    if HOOK == "clings":
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(600)
    await asyncio.sleep(0.1)
    tell(told="done")


class Listener:
    async def __call__(self, message, sender):
        await asyncio.sleep(0)
        if isinstance(message, dict) and "pad" in message:
            return
        tell(heard=message, sender=sender)


prefork.on_message(Listener())


async def flood(size, megabytes):
    """Post until so much was taken, as fast as it is taken."""
    message = {"pad": "x" * size}
    left = megabytes * 2**20
    refused = 0
    while left > 0:
        if prefork.send(message):
            left -= size
        else:
            refused += 1
            await asyncio.sleep(0.002)
    return refused


async def answer(path, query):
    if path == "/send":
        return prefork.send(json.loads(query["message"]), int(query["to"]) if "to" in query else None)
    if path == "/retire":
        return prefork.retire(query.get("reason", "asked"))
    if path == "/flood":
        return await flood(int(query["size"]), float(query["megabytes"]))
    if path == "/grow":
        HELD.append(b"x" * (int(query["megabytes"]) * 2**20))
    if path == "/sleep":
        await asyncio.sleep(float(query["s"]))
    return prefork.worker.slot


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        tell(lifespan="shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    body = json.dumps(await answer(scope["path"], query)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})
