"""Says how the client is connected, after it has read the body; /unread answers before."""

import json
import os


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    size = 0
    if scope["path"] != "/unread":
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
    tls = scope["extensions"].get("tls")
    said = {
        "pid": os.getpid(),
        "uid": os.getuid(),
        "client": scope["client"],
        "scheme": scope["scheme"],
        "name": tls and tls["client_cert_name"],
        "size": size,
        "password": os.environ.get("PREFORK_SSL_KEYFILE_PASSWORD"),
    }
    body = json.dumps(said).encode()
    if scope["path"] == "/big":
        body = bytes(3_000_000)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    size = len(environ["wsgi.input"].read())
    said = {
        "pid": os.getpid(),
        "client": [environ["REMOTE_ADDR"], int(environ.get("REMOTE_PORT", 0))],
        "scheme": environ["wsgi.url_scheme"],
        "name": environ.get("SSL_CLIENT_S_DN"),
        "size": size,
    }
    body = json.dumps(said).encode()
    if environ["PATH_INFO"] == "/big":
        body = bytes(3_000_000)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def stream(reader, writer):
    while (line := await reader.readline()) not in {b"", b"quit\n"}:
        writer.write(line.upper())
        await writer.drain()
    writer.write(b"END\n")
