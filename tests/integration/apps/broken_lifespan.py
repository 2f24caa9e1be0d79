"""Its startup fails: `app` says so, `raising` raises."""


async def app(scope, receive, send):
    assert scope["type"] == "lifespan", "a request reached an app that never started"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def raising(scope, receive, send):
    assert scope["type"] == "lifespan", "a request reached an app that never started"
    await receive()
    await send({"type": "lifespan.startup.complete", "nonsense": object()})
