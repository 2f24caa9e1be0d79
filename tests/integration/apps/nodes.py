"""`echoes` on one of several nodes: the number in front of each answer is the node's."""

import os

import echoes


async def app(scope, receive, send):
    async def send_marked(message):
        body = message.get("body", b"")
        if body:
            number, _, rest = body.partition(b" ")
            assert (
                len(number) == 1
            )  # the generation: the node's number takes its place, and nothing else moves
            message = message | {"body": os.environ["NODE"].encode() + b" " + rest}
        await send(message)

    await echoes.app(scope, receive, send_marked)
