"""Starlette with lifespan state, a WebSocket, a form, streaming, a background task and an error page."""

from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

done = []


@asynccontextmanager
async def lifespan(app):
    yield {"greeting": "Hello, world!"}


async def hello(request):
    return PlainTextResponse(request.state.greeting)


async def echo_json(request):
    return JSONResponse({"received": await request.json(), "client": list(request.client)})


async def stream(request):
    async def lines():
        for number in range(100):
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


async def background(request):
    return PlainTextResponse(str(len(done)), background=BackgroundTask(done.append, 1))


async def file(request):
    return FileResponse(Path("data.bin").resolve())


async def boom(request):
    raise ValueError("boom")


async def socket(websocket):
    if "token" not in websocket.query_params:
        await websocket.send_denial_response(PlainTextResponse("no token", status_code=401))
        return
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][0], headers=[(b"x-app", b"starlette")])
    async for text in websocket.iter_text():
        await websocket.send_json({"text": text, "greeting": websocket.state.greeting})
    done.append("socket")


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", hello),
        Route("/json", echo_json, methods=["POST"]),
        Route("/stream", stream),
        Route("/background", background),
        Route("/file", file),
        Route("/boom", boom),
        WebSocketRoute("/socket", socket),
    ],
)
