"""Says from whom and to whom a request is, over ASGI and over WSGI."""

import json


async def app(scope, receive, send):
    if scope["type"] != "http":
        msg = "no lifespan here"
        raise NotImplementedError(msg)
    host = dict(scope["headers"]).get(b"host", b"").decode()
    client = scope["client"]
    told = {"client": client and client[0], "scheme": scope["scheme"], "host": host}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


def wsgi(environ, start_response):
    told = {
        "client": environ["REMOTE_ADDR"],
        "scheme": environ["wsgi.url_scheme"],
        "host": environ["HTTP_HOST"],
    }
    start_response("200 OK", [])
    return [json.dumps(told).encode()]
