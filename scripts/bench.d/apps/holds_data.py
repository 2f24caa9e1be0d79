"""An app that holds about 100 MB of Python objects, as a loaded table or model does. `/read` goes through all of it."""

from bench_app import HEADERS

ROWS = [{"id": number, "name": f"customer {number}", "paid": number * 1.5} for number in range(250_000)]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": message["type"] + ".complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": answer(scope["path"])})


def answer(path):
    if path != "/read":
        return b"Hello, world!"
    return b"%13d" % sum(len(row["name"]) for row in ROWS)
