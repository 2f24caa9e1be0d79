"""Says back what was asked, and who answers: `GEN METHOD PATH?QUERY SHA256 BODY`, over ASGI and over WSGI."""

import hashlib

import prefork


async def app(scope, receive, send):
    if scope["type"] != "http":
        msg = "no lifespan here"
        raise NotImplementedError(msg)
    body, more = b"", True
    while more:
        message = await receive()
        assert message["type"] == "http.request", message
        body += message.get("body", b"")
        more = message.get("more_body", False)
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    answer = echo(scope["method"].encode(), scope["path"].encode() + query, body)
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    query = "?" + environ["QUERY_STRING"] if environ["QUERY_STRING"] else ""
    answer = echo(environ["REQUEST_METHOD"].encode(), (environ["PATH_INFO"] + query).encode(), body)
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


def echo(method, target, body):
    gen = b"%d" % prefork.worker.generation
    return b" ".join([gen, method, target, hashlib.sha256(body).hexdigest().encode(), body])
