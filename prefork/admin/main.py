"""What the admin process's fresh interpreter runs: hear where to answer, and answer until the master has gone.

A process of its own, so that the master has one thread, speaks no HTTP, and owes nothing to whoever asks: a flood of
scrapes, a client that sends a byte a minute, an app with 10,000 time series cost CPU here and nowhere else.
"""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import socket
from contextlib import suppress
from typing import NamedTuple

from prefork.admin.agent import open_agent
from prefork.admin.asking import Asking
from prefork.admin.pages import Pages
from prefork.admin.reception import Reception
from prefork.admin.tree import Tree
from prefork.ipc import messages as say
from prefork.ipc.codec import Reader, read_from_master_as_admin
from prefork.ipc.starting import PROTOCOL
from prefork.serve.asgi import AsgiService
from prefork.serve.settings import ServeSettings
from prefork.system import logs, titles
from prefork.system.attending import attend_master, change_identity
from prefork.system.channel import Channel

SETTINGS = ServeSettings(
    keep_alive_s=5.0,
    header_timeout_s=3.0,
    limit_request_line_bytes=2048,
    limit_request_fields=64,
    limit_request_field_size_bytes=4096,
    limit_request_body_bytes=1,  # nothing here takes any
)


def main(argv: list[str]) -> int:
    """The process's whole life. `argv`: where the master's prefork is, the channel's descriptor, and its protocol."""
    channel = attend_master(argv)
    if argv[2] != str(PROTOCOL):
        return 1  # another prefork than the master's was installed: the two cannot talk
    heard = hear_order(channel)
    if heard is None:
        return 0
    order = heard.order
    titles.set_title(f"prefork: admin {order.name}")
    fd = logs.STDERR if heard.log_fd is None else heard.log_fd
    logs.set_up_logging("warning", order.log_format, fd, order.log_time)
    change_identity(order.user, order.group)
    with suppress(
        OSError
    ):  # a release that is gone: nothing here needs it, unless the user's directory is in it
        os.chdir(order.chdir)
    asyncio.run(serve(heard, channel))
    return 0


class Heard(NamedTuple):
    """What the master has said first."""

    order: say.ServeAdmin
    listeners: list[socket.socket]
    reader: Reader[say.MasterToAdmin]
    log_fd: int | None = None
    """None: standard error."""


def hear_order(channel: Channel) -> Heard | None:
    """Wait for it; None if the master has gone."""
    reader, listeners = read_from_master_as_admin(), list[socket.socket]()
    log_fd: int | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            selector.select()
            data = channel.receive()
            if data is None:
                return None
            for message in reader.feed(data):
                if isinstance(message, say.ReopenLog):
                    log_fd = channel.take_promised_fd()
                elif isinstance(message, say.GiveAdminListener):
                    listeners.append(socket.socket(fileno=channel.take_promised_fd()))
                elif isinstance(message, say.ServeAdmin):
                    return Heard(message, listeners, reader, log_fd)


async def serve(heard: Heard, channel: Channel) -> None:
    """Answer until the master has gone."""
    loop = asyncio.get_running_loop()
    asking = Asking(loop, channel, heard.reader, heard.log_fd)
    pages = Pages(loop, asking, Tree(), heard.order)
    service = AsgiService(pages, SETTINGS, loop)
    agents_from = len(heard.listeners) - heard.order.agents
    reception = Reception(loop, service, heard.listeners[:agents_from])
    reception.open()
    agents = [await open_agent(asking, listener) for listener in heard.listeners[agents_from:]]
    gc.collect()
    gc.freeze()
    gc.enable()
    await asking.wait_end()
    for agent in agents:
        agent.close()
    reception.close()
    service.cut()  # nobody is left to answer for: what is cancelled from here on is no failure of the app's
    await asyncio.sleep(0)
