"""Answers with the environment of a subprocess, one variable a line."""

import os
import subprocess


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = subprocess.run(["env"], stdout=subprocess.PIPE, check=True, env=dict(os.environ)).stdout
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
