"""Hello from a protocol of your own, with asyncio's streams: every line comes back in capitals.

$ prefork conf/examples/hello_stream.py --workers max
$ echo hello | nc -N 127.0.0.1 8000
"""


async def handler(reader, writer):
    """Speak to one client until it has nothing more to say. The connection is closed when this returns."""
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()  # waits while the client reads slower than we write
