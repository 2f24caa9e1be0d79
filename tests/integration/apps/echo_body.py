"""`app` streams the body back as it comes; `measure` reads it all and answers with its size and SHA-256.

`slow` does so too, but takes its time to begin; `wsgi_measure` is the same over WSGI.
"""

import asyncio
import hashlib
import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def measure(scope, receive, send):
    if scope["type"] != "http":
        return
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        assert message["type"] == "http.request", message
        digest.update(message.get("body", b""))
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = f"{size} {digest.hexdigest()} {os.getpid()}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def slow(scope, receive, send):
    await asyncio.sleep(3)
    await measure(scope, receive, send)


def wsgi_measure(environ, start_response):
    digest, size = hashlib.sha256(), 0
    while block := environ["wsgi.input"].read(65536):
        digest.update(block)
        size += len(block)
    body = f"{size} {digest.hexdigest()} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
