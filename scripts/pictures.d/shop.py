"""An app with something to look at: most requests are quick, a few are slow, one in some hundreds fails."""

from __future__ import annotations

import asyncio
import random
from typing import Any

BOOT_S = 0.8
"""So that a reload can be watched."""


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await start_up(receive, send)
        return
    await asyncio.sleep(random.choice((0.001, 0.002, 0.002, 0.003, 0.005, 0.03)))
    status = 500 if random.random() < 0.002 else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"ok\n"})


async def start_up(receive: Any, send: Any) -> None:
    await receive()
    await asyncio.sleep(BOOT_S)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
