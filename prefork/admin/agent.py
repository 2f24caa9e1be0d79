"""HAProxy's agent-check: whoever connects is told in one line how the service is, and is closed.

Nothing is read, so nobody can hold a connection by sending slowly; and one lives no longer than the master may take to
answer.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from prefork.admin.asking import Asking
from prefork.admin.readiness import tell_agent

CONNECTIONS_MAX = 64
"""Whoever comes beyond that is closed without a word, which HAProxy takes for no answer."""


async def open_agent(asking: Asking, listener: socket.socket) -> asyncio.AbstractServer:
    """Answer there until it is closed."""
    answering = set[asyncio.StreamWriter]()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(writer)
        try:
            if len(answering) <= CONNECTIONS_MAX:
                writer.write(tell_agent(await asking.ask()).encode())
        finally:
            answering.discard(writer)
            writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    return await asyncio.start_server(answer, sock=listener)
