"""Each worker has a thread that is no daemon and never ends."""

import threading

started = []


async def app(scope, receive, send):
    if scope["type"] != "http":
        msg = "no lifespan here"
        raise NotImplementedError(msg)
    if not started:
        started.append(threading.Thread(target=threading.Event().wait, name="exporter"))
        started[0].start()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
