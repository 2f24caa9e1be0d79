"""Reads what it is told to read, and says in its answer what it was asked."""


async def read_body(receive):
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return -1
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size


async def app(scope, receive, send):
    if scope["type"] == "websocket":  # a mutation may have made one of it: 403 then
        await send({"type": "websocket.close"})
        return
    if scope["type"] != "http":
        raise NotImplementedError
    raw_path = scope["raw_path"]
    size = 0 if raw_path.startswith(b"/unread") else await read_body(receive)
    if size < 0:
        return  # the client is gone; the server knows
    headers = [(b"x-method", scope["method"].encode()), (b"x-query", scope["query_string"] or b"-")]
    if raw_path.startswith(b"/close"):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if raw_path.startswith(b"/stream"):
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"part " * 100, "more_body": True})
    await send({"type": "http.response.body", "body": b"%d" % size})
