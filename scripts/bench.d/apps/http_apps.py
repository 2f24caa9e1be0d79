"""What apps do all day, and nothing else: JSON, a page of 10 KB, a body said back. Each over ASGI and over WSGI."""

import json

TEXT = b"text/plain"
PAGE = b"0123456789abcdef" * 640


async def answer(scope, receive, send, kind, body):
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive, send):
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": message["type"] + ".complete"})


async def json_asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body = json.dumps({"message": "Hello, world!"}).encode()
    await answer(scope, receive, send, b"application/json", body)


async def page_asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await answer(scope, receive, send, TEXT, PAGE)


async def echo_asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await answer(scope, receive, send, TEXT, body)


def reply(start_response, kind, body):
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def json_wsgi(environ, start_response):
    body = json.dumps({"message": "Hello, world!"}).encode()
    return reply(start_response, "application/json", body)


def page_wsgi(environ, start_response):
    return reply(start_response, "text/plain", PAGE)


def echo_wsgi(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return reply(start_response, "text/plain", body)
