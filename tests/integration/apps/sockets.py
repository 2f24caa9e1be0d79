"""Echoes over WebSocket, each message behind the pid, and notes it in `received.txt`; `/whose` says whose it is."""

import json
import os

PID = os.getpid


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % PID()})
        return
    if scope["type"] != "websocket":
        return
    if scope["path"] == "/whose":
        await receive()
        await send({"type": "websocket.accept"})
        said = [scope["scheme"], scope["client"], "tls" in scope["extensions"]]
        await send({"type": "websocket.send", "text": json.dumps(said)})
        return
    note = os.open("received.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            os.write(note, f"{message['text']}\n".encode())
            try:
                await send({"type": "websocket.send", "text": f"{PID()} {message['text']}"})
            except OSError:
                continue  # closed meanwhile; what the client had sent before is still to come
        os.write(note, f"end {message['code']} {message['reason']}\n".encode())
    finally:
        os.close(note)
