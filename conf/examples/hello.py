"""Hello from ASGI, without a framework.

$ prefork conf/examples/hello.py --workers max
$ curl http://127.0.0.1:8000/          Hello, world!
$ curl http://127.0.0.1:8000/worker    who answered; ask a few times
"""

import os

HEADERS = [(b"content-type", b"text/plain; charset=utf-8")]


async def app(scope, receive, send):
    """Answer one request. A server offers other scopes too (`lifespan`, `websocket`); raising declines them."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])

    body = b"Hello, world!"
    if scope["path"] == "/worker":
        # The worker's slot: 0 to workers - 1, the same after a reload. None when another server runs this file.
        body = f"worker {os.environ.get('PREFORK_WORKER_ID')} pid {os.getpid()}\n".encode()

    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
    await send({"type": "http.response.body", "body": body})
