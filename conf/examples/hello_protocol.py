"""Hello from an asyncio.Protocol, the fastest way to bytes: everything comes back as it came.

$ prefork conf/examples/hello_protocol.py:Echo --workers max
$ echo hello | nc -N 127.0.0.1 8000
"""

import asyncio


class Echo(asyncio.Protocol):
    """One client. asyncio calls these methods; a new object is made for each connection."""

    def connection_made(self, transport):
        """Keep the way back to the client."""
        self.transport = transport

    def data_received(self, data):
        """Some bytes came: as many as there were, not a message."""
        self.transport.write(data)

    def pause_writing(self):
        """The client reads too slowly: read no more from it until it has caught up."""
        self.transport.pause_reading()

    def resume_writing(self):
        """It has caught up."""
        self.transport.resume_reading()
