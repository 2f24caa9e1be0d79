"""Says back what was asked, and who answers: `PID METHOD PATH?QUERY SHA256 BODY`, over ASGI and over WSGI."""

import hashlib
import os


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": message["type"] + ".complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = echo(scope["method"], scope["path"], scope["query_string"].decode(), body)
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = echo(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], body)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


def echo(method, path, query, body):
    target = f"{path}?{query}" if query else path
    return f"{os.getpid()} {method} {target} {hashlib.sha256(body).hexdigest()} ".encode() + body
