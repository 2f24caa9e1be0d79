"""Closes each connection as soon as it has it: the least that a worker can do with one."""

import asyncio


class Closer(asyncio.Protocol):
    def connection_made(self, transport):
        transport.close()
