"""A cache in every worker that forgets everywhere at once, and workers that say when they are ready and why they go.

$ prefork conf/examples/shared_cache.py --workers 3 --wait-ready
$ curl http://127.0.0.1:8000/             the price, as one worker remembers it; ask a few times
$ curl -X POST http://127.0.0.1:8000/     forget it: that worker tells the others
$ curl -X DELETE http://127.0.0.1:8000/   that worker thinks it is beyond repair, and is replaced
"""

import asyncio
import time

import prefork

cache = {}


@prefork.on_message
def forget(message, sender):
    """Another worker (`sender` is its slot) was told something that we should know."""
    cache.pop(message["forget"], None)


@prefork.on_shutdown
async def say_goodbye(reason, deadline):
    """Called once, when this worker begins to drain: requests in flight are still being answered."""
    slot = prefork.worker.slot if prefork.worker else "?"
    print(f"worker {slot} goes: {reason}, {deadline - time.monotonic():.0f} s left", flush=True)


async def warm_up():
    """Fill the cache, then take traffic: with `--wait-ready` no request comes, and no old worker goes, before that."""
    await asyncio.sleep(0.1)  # stands for a database
    cache["price"] = round(time.time())
    prefork.ready()


async def app(scope, receive, send):
    """Answer one request, and tell prefork and the other workers what has to be told."""
    if scope["type"] == "lifespan":
        await receive()
        warming = asyncio.ensure_future(warm_up())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        warming.cancel()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])

    if scope["method"] == "POST":
        cache.pop("price", None)
        prefork.send({"forget": "price"})
    if scope["method"] == "DELETE":
        prefork.retire("its cache is beyond repair")
    body = f"{cache.setdefault('price', round(time.time()))}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
