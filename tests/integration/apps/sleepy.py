"""Answers late: `/?s=0.5` after half a second; `wsgi` does the same while holding its thread."""

import asyncio
import os
import time
from urllib.parse import parse_qs


async def app(scope, receive, send):
    if scope["type"] != "http":
        msg = "no lifespan here"
        raise NotImplementedError(msg)
    await asyncio.sleep(read_seconds(scope["query_string"].decode()))
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    time.sleep(read_seconds(environ["QUERY_STRING"]))
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def read_seconds(query):
    return float(parse_qs(query).get("s", ["0"])[0])
