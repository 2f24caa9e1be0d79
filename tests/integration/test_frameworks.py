"""Django, Flask, FastAPI and Starlette, for real: the requests of their tutorials, answered as their users expect."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.running import wait_until

LINES = "".join(f"line {number}\n" for number in range(100)).encode()
JSON = "Content-Type: application/json\r\n"
FORM = "Content-Type: multipart/form-data; boundary=xx\r\n"
UPLOAD = b"u" * 300_000
FORM_BODY = (
    b'--xx\r\nContent-Disposition: form-data; name="name"\r\n\r\nJos\xc3\xa9\r\n'
    b'--xx\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n\r\n'
    + UPLOAD
    + b"\r\n--xx--\r\n"
)


@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("flask_app:app", ()),
        ("flask_app:app", ("--threads", "4")),
        ("django_app:application", ()),
        ("django_app:application", ("--threads", "4")),
        ("django_app:asgi", ()),
        ("starlette_app:app", ()),
    ],
    ids=["flask", "flask threads", "django", "django threads", "django asgi", "starlette"],
)
def test_files(start: Start, tmp_path: Path, app: str, options: tuple[str, ...]) -> None:
    running = start(app, "--workers", "1", *options)
    with Connection(running.address) as connection:
        for size in (0, 10_000, 3_000_001):
            data = random.Random(size).randbytes(size)
            (tmp_path / "data.bin").write_bytes(data)
            for _ in range(2):
                response = connection.request("/file")
                assert (response.status, response.header("content-length")) == (200, str(size))
                assert response.body == data
            head = connection.request("/file", method="HEAD")
            assert (head.status, head.body) == (200, b"")
        if "django" not in app:
            part = connection.request("/file", head="Range: bytes=100-200099\r\n")
            assert (part.status, part.body) == (206, data[100:200_100])
            known = connection.request("/file", head=f"If-None-Match: {response.header('etag')}\r\n")
            assert (known.status, known.body) in (
                (304, b""),
                (200, data),
            )  # Starlette leaves that to StaticFiles
        # Before the connection ends: Django leaves the file of a client who has left to the collector.
        opened = Path(f"/proc/{running.workers[0].pid}/fd")

        def is_closed() -> bool:
            with suppress(FileNotFoundError):  # one was closed while we look: once more
                return not any(fd.readlink().name == "data.bin" for fd in opened.iterdir())
            return False

        wait_until(is_closed, "the end of the file, which frameworks close behind the response")
    assert running.stop() == 0


@pytest.mark.parametrize("options", [(), ("--threads", "4")], ids=["inline", "threads"])
def test_flask(start: Start, options: tuple[str, ...]) -> None:
    running = start("flask_app:app", "--workers", "2", *options)
    with Connection(running.address) as connection:
        assert connection.request("/").body == b"Hello, world!"
        sent = {"a": [1, "ü"]}
        echoed = connection.request("/json", method="POST", head=JSON, body=json.dumps(sent).encode())
        assert echoed.json() == {"received": sent, "address": "127.0.0.1"}
        form = connection.request("/form", method="POST", head=FORM, body=FORM_BODY)
        assert form.json() == {"name": "José", "size": len(UPLOAD)}
        cookie = connection.request("/visits").header("set-cookie")
        assert cookie is not None
        again = connection.request("/visits", head=f"Cookie: {cookie.partition(';')[0]}\r\n")
        assert again.body == b"2"
        assert connection.request("/stream").body == LINES
        assert connection.request("/url?q=%C3%BC").body.decode() == "http://test/url?q=ü"
        assert connection.request("/nothing").status == 404
        assert connection.request("/boom").status == 500
        head = connection.request("/", method="HEAD")
        assert (head.status, head.header("content-length"), head.body) == (200, "13", b"")
        assert connection.request("/").body == b"Hello, world!"
    assert "boom" in running.log
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("app", "options"),
    [("django_app:application", ()), ("django_app:application", ("--threads", "4")), ("django_app:asgi", ())],
    ids=["wsgi", "wsgi threads", "asgi"],
)
def test_django(start: Start, app: str, options: tuple[str, ...]) -> None:
    running = start(app, "--workers", "2", *options)
    with Connection(running.address) as connection:
        assert connection.request("/").body == b"Hello, world!"
        form = connection.request("/form", method="POST", head=FORM, body=FORM_BODY)
        assert form.json() == {"name": "José", "size": len(UPLOAD)}
        asked = connection.request("/query/%C3%A9t%C3%A9?q=1&q=%26")
        assert asked.json() == {"q": ["1", "&"], "word": "été", "host": "test"}
        assert connection.request("/stream").body == LINES
        assert connection.request("/nothing").status == 404
        assert connection.request("/boom").status == 500
        assert connection.request("/").body == b"Hello, world!"
    assert running.stop() == 0


def test_starlette(start: Start) -> None:
    running = start("starlette_app:app", "--workers", "1")
    with Connection(running.address) as connection:
        assert connection.request("/").body == b"Hello, world!"
        echoed = connection.request("/json", method="POST", head=JSON, body=b'{"a": 1}').json()
        assert echoed["received"] == {"a": 1}
        assert [type(part) for part in echoed["client"]] == [str, int]
        assert connection.request("/stream").body == LINES
        assert connection.request("/background").body == b"0"
        wait_until(lambda: connection.request("/background").body != b"0", "the background task's end")
        assert connection.request("/boom").status == 500
        assert connection.request("/").body == b"Hello, world!"
    assert "boom" in running.log
    assert running.stop() == 0


def test_fastapi(start: Start) -> None:
    running = start("fastapi_app:app", "--workers", "2")
    with Connection(running.address) as connection:
        assert connection.request("/").json() == "Hello, world!"
        assert connection.request("/items/5?q=x").json() == {"item_id": 5, "q": "x"}
        assert connection.request("/items/five").status == 422
        assert connection.request("/items/404").status == 404
        made = connection.request("/items", method="POST", head=JSON, body=b'{"name": "pen", "price": 1.5}')
        assert made.json() == {"name": "pen", "total": 3.0, "host": "test"}
        assert connection.request("/openapi.json").json()["openapi"].startswith("3.")
        assert connection.request("/docs").status == 200
        assert connection.request("/boom").status == 500
        assert connection.request("/").json() == "Hello, world!"
    assert running.stop() == 0


def test_starlette_websockets(start: Start) -> None:
    running = start("starlette_app:app", "--workers", "1")
    url = f"ws://127.0.0.1:{running.port}/socket"
    chat = [Subprotocol("chat"), Subprotocol("other")]
    with pytest.raises(InvalidStatus) as denied, connect(url, subprotocols=chat):
        pass
    response = denied.value.response
    assert (response.status_code, response.body) == (401, b"no token")
    with connect(f"{url}?token=1", subprotocols=chat) as client:
        assert client.subprotocol == "chat"
        assert client.response is not None
        assert client.response.headers["x-app"] == "starlette"
        client.send("hi")
        assert json.loads(client.recv(timeout=10)) == {"text": "hi", "greeting": "Hello, world!"}
    with Connection(running.address) as connection:
        wait_until(lambda: connection.request("/background").body != b"0", "the end of the handler's loop")
        assert connection.request("/socket").status == 404
    assert "ERROR" not in running.log
    assert running.stop() == 0


def test_fastapi_websockets(start: Start) -> None:
    running = start("fastapi_app:app", "--workers", "2")
    url = f"ws://127.0.0.1:{running.port}/items/5/ws"
    with pytest.raises(InvalidStatus) as denied, connect(url):
        pass
    assert denied.value.response.status_code == 403
    with pytest.raises(InvalidStatus), connect(url.replace("/5/", "/five/")):
        pass
    with connect(f"{url}?token=me") as client:
        assert json.loads(client.recv(timeout=10)) == {"item": 5, "name": "me"}
        client.send("x" * 70_000 + "y")
        assert client.recv(timeout=10) == b"y" + b"x" * 70_000
        client.send("quit")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "as you wish")
    with connect(f"{url}?token=me") as client:
        client.recv(timeout=10)
    assert "ERROR" not in running.log  # also not for the disconnect that left the handler
    with connect(f"{url}?token=me") as client:
        client.recv(timeout=10)
        client.send("boom")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
    assert running.log.count("the app raised on a WebSocket") == 1
    assert running.stop() == 0
