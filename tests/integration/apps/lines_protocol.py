"""An asyncio.Protocol: what arrives goes back reversed."""

import asyncio


class Reverse(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data[::-1])
