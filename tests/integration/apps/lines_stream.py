"""A stream handler: each line comes back in capitals; `quit` ends the conversation."""


async def handler(reader, writer):
    while line := await reader.readline():
        if line.strip() == b"quit":
            break
        writer.write(line.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()
