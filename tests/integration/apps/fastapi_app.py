"""FastAPI as its tutorial has it: typed parameters, a model in the body, a sync route in a thread, a WebSocket."""

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketException
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    name: str
    price: float


@app.get("/")
async def hello() -> str:
    return "Hello, world!"


@app.get("/items/{item_id}")
def read_item(item_id: int, q: str | None = None) -> dict[str, object]:
    if item_id == 404:
        raise HTTPException(404, "no such item")
    return {"item_id": item_id, "q": q}


@app.post("/items")
async def create_item(item: Item, request: Request) -> dict[str, object]:
    return {"name": item.name, "total": item.price * 2, "host": request.url.hostname}


@app.get("/boom")
def boom() -> None:
    raise ValueError("boom")


async def find_name(websocket: WebSocket, token: str | None = None) -> str:
    if token is None:
        raise WebSocketException(1008, "no token")
    return token


@app.websocket("/items/{item_id}/ws")
async def talk(websocket: WebSocket, item_id: int, name: str = Depends(find_name)) -> None:
    await websocket.accept()
    await websocket.send_json({"item": item_id, "name": name})
    while True:  # and let the disconnect leave as an exception, as many do
        text = await websocket.receive_text()
        if text == "quit":
            await websocket.close(4000, "as you wish")
            break
        if text == "boom":
            raise ValueError("boom")
        await websocket.send_bytes(text.encode()[::-1])
