"""Says which slot answers, to whoever connects and says nothing."""

import os


async def handler(reader, writer):
    writer.write(os.environ["PREFORK_WORKER_ID"].encode())
