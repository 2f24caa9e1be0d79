"""`/spin` never ends, `/block` sits in a C call; everything else answers with the pid."""

import os
import time


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    match scope["path"]:
        case "/spin":
            spin_for_ever()
        case "/block":
            block_in_c()
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def spin_for_ever():
    while True:
        pass


def block_in_c():
    time.sleep(3600)
