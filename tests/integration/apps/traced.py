"""An app traced by OpenTelemetry: its exporter's thread is started in each worker, or, TOO_EARLY, by the import."""

import json
import os
import threading

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import prefork

EXPORTED = []
MADE_BY = []


class Exporter(SpanExporter):
    def export(self, spans):
        EXPORTED.extend((span.name, os.getpid()) for span in spans)
        return SpanExportResult.SUCCESS


provider = TracerProvider()


def trace():
    MADE_BY.append((os.getpid(), prefork.worker and prefork.worker.slot))
    provider.add_span_processor(BatchSpanProcessor(Exporter()))


if os.environ.get("TOO_EARLY"):
    trace()
else:
    prefork.on_worker_start(trace)


@prefork.on_worker_start
async def look():
    if os.environ.get("BROKEN"):
        raise SystemExit("no collector")


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    with provider.get_tracer("app").start_as_current_span("request"):
        pass
    provider.force_flush()
    body = json.dumps(
        {
            "pid": os.getpid(),
            "slot": prefork.worker.slot,
            "made_by": MADE_BY,
            "exported": EXPORTED,
            "threads": [thread.name for thread in threading.enumerate()],
        }
    ).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})
