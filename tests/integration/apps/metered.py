"""Counts requests with prometheus_client, as any app does: imported once, labelled and plain, in every mode."""

import os

from prometheus_client import Counter, Gauge, Histogram

HITS = Counter("shop_hits", "Requests.", ["path"])
PLAIN = Counter("shop_plain", "Requests, without a label.")
SECONDS = Histogram("shop_seconds", "How long.", buckets=[0.1, 1])
SMALLEST = Gauge("shop_smallest", "Always 5.", multiprocess_mode="min")
LIVE = Gauge("shop_live", "1 for each worker that lives.", multiprocess_mode="livesum")
EACH = Gauge("shop_each", "1 of each worker.")


async def app(scope, receive, send):
    if scope["type"] != "http":
        msg = "no lifespan here"
        raise NotImplementedError(msg)
    if scope["path"] == "/where":
        await answer(send, os.environ["PROMETHEUS_MULTIPROC_DIR"])
        return
    HITS.labels(scope["path"]).inc()
    PLAIN.inc()
    SECONDS.observe(0.5)
    SMALLEST.set(5)
    LIVE.set(1)
    EACH.set(1)
    await answer(send, "counted")


async def answer(send, text):
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
