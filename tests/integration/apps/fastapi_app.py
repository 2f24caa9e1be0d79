"""FastAPI as its tutorial has it: typed parameters, a model in the body, a sync route in the thread pool."""

from fastapi import FastAPI, HTTPException, Request
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
