"""Each request leaves a grandchild behind that ends by itself, for init to reap; the answer is its pid."""

import subprocess


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = subprocess.run(
        ["sh", "-c", "sleep 0.2 >&- & echo $!"], stdout=subprocess.PIPE, check=True
    ).stdout.strip()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
