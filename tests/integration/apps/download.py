"""$DOWNLOAD_MB megabytes (200), in pieces of 64 KB; the byte at position n is n // 65536 % 251. Over ASGI and WSGI,
and the same from `data.bin` in the current directory.
"""

import os
from pathlib import Path

PIECE = 65536
PIECES = int(os.environ.get("DOWNLOAD_MB", "200")) * 16
TABLE = [bytes([number]) * PIECE for number in range(251)]


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    headers = [
        (b"content-length", str(PIECES * PIECE).encode()),
        (b"x-pid", str(os.getpid()).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(PIECES):
        await send({"type": "http.response.body", "body": TABLE[number % 251], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", str(PIECES * PIECE)), ("X-Pid", str(os.getpid()))])
    return (TABLE[number % 251] for number in range(PIECES))


async def app_file(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": str(Path("data.bin").resolve())})


def wsgi_file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](Path("data.bin").open("rb"))
