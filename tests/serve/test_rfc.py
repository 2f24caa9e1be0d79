"""Every row of `rfc_rows`, through a real socket, in one write and byte by byte, to an ASGI and a WSGI app."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from tests.serve.rfc_rows import (
    ACCEPTED,
    BROKEN_BODIES,
    REFUSED,
    TOKEN,
    Fields,
    Refused,
    Seen,
    chunks,
    field_line,
    get,
)
from tests.serve.serving import GET, Client, Served, serving, wait_until

SMUGGLED = get(b"/smuggled")
FIRST = get(b"/first")
# Neither ever comes with a field of its name: the body has a length, decoded as it is.
NEVER_IN_ENVIRON = {b"transfer-encoding"}


@dataclass
class Place:
    """A service and what its app was asked."""

    served: Served
    seen: list[Any]
    interface: str

    def see(self, seen: Seen) -> Any:
        """What the app writes down of such a request."""
        return seen if self.interface == "asgi" else make_keys(seen)


def make_keys(seen: Seen) -> dict[str, Any]:
    """What a WSGI app is told, as PEP 3333 has it."""
    keys: dict[str, Any] = {
        "REQUEST_METHOD": seen.method,
        "PATH_INFO": unquote_to_bytes(seen.raw_path).decode("latin-1"),
        "QUERY_STRING": seen.query.decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{seen.version}",
        "body": seen.body,
    }
    for name, value in seen.headers:
        if b"_" in name or name in NEVER_IN_ENVIRON:
            continue
        key = name.decode().upper().replace("-", "_")
        key = key if key in {"CONTENT_LENGTH", "CONTENT_TYPE"} else f"HTTP_{key}"
        text = value.decode("latin-1")
        keys[key] = f"{keys[key]},{text}" if key in keys else text
    if seen.body:
        keys["CONTENT_LENGTH"] = str(len(seen.body))
    return keys


def write_down_asgi(seen: list[Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        fields: Fields = tuple((name, value) for name, value in scope["headers"])
        seen.append(
            Seen(
                scope["method"],
                scope["raw_path"],
                scope["path"],
                scope["query_string"],
                fields,
                body,
                scope["http_version"],
            )
        )
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def write_down_wsgi(seen: list[Any]) -> Any:
    kept = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL")

    def app(environ: Any, start_response: Any) -> list[bytes]:
        keys = {k: v for k, v in environ.items() if k in kept or k.startswith(("HTTP_", "CONTENT_"))}
        seen.append(keys | {"body": environ["wsgi.input"].read()})
        start_response("200 OK", [])
        return [b"ok"]

    return app


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    seen: list[Any] = []
    interface: str = request.param
    app = write_down_asgi(seen) if interface == "asgi" else write_down_wsgi(seen)
    with serving(app, interface, "asyncio" if interface == "wsgi" else "uvloop") as served:
        yield Place(served, seen, interface)


@pytest.fixture(params=["whole", "dripping"])
def is_split(request: pytest.FixtureRequest, place: Place) -> bool:
    place.seen.clear()
    return bool(request.param == "dripping")


def connect(place: Place, data: bytes, *, is_split: bool) -> Client:
    client = place.served.connect()
    if not is_split:
        client.send(data)
        return client
    connections = place.served.service._connections
    port = client.sock.getsockname()[1]

    def find() -> list[Any]:
        return [c for c in tuple(connections) if c.client and c.client[1] == port]

    wait_until(lambda: bool(find()))
    (connection,) = find()

    def drip() -> None:
        for at in range(len(data)):
            connection.data_received(data[at : at + 1])

    place.served.call(drip)
    return client


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted_is_seen_as_it_was_sent(place: Place, name: str, *, is_split: bool) -> None:
    row = ACCEPTED[name]
    client = connect(place, FIRST + row.data + GET, is_split=is_split)
    statuses = [client.read_response().status for _ in range(2 if row.closes else 3)]
    assert set(statuses) == {200}
    if row.closes:
        assert client.is_closed()
    client.close()
    expected = [Seen(raw_path=b"/first", path="/first"), row.seen, Seen()]
    assert place.seen == [place.see(seen) for seen in expected[: len(statuses)]]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_ends_the_parsing(place: Place, name: str, *, is_split: bool) -> None:
    row = REFUSED[name]
    status = row.later_status or row.status
    check_refused(place, connect(place, FIRST + row.data + SMUGGLED, is_split=is_split), {status}, first=True)


@pytest.mark.parametrize("name", [name for name, row in REFUSED.items() if row.later_status])
def test_an_unknown_method_is_told_from_garbage(place: Place, name: str) -> None:
    place.seen.clear()
    row: Refused = REFUSED[name]
    check_refused(place, connect(place, row.data + SMUGGLED, is_split=False), {row.status}, first=False)


@pytest.mark.parametrize("name", BROKEN_BODIES)
def test_a_broken_body_never_looks_complete_to_the_app(place: Place, name: str, *, is_split: bool) -> None:
    data = FIRST + chunks(BROKEN_BODIES[name]) + SMUGGLED
    check_refused(place, connect(place, data, is_split=is_split), {400}, first=True)


def check_refused(place: Place, client: Client, statuses: set[int], *, first: bool) -> None:
    if first:
        assert client.read_response().status == 200
    response = client.read_response()
    assert response.status in statuses
    assert response.get("connection") == "close"
    assert response.get("content-length") == str(len(response.body))
    assert client.is_closed()
    client.close()
    assert place.served.ask(GET).status == 200
    expected = [Seen(raw_path=b"/first", path="/first"), Seen()] if first else [Seen()]
    assert place.seen == [place.see(seen) for seen in expected]


def ask_status(place: Place, data: bytes) -> int:
    return place.served.ask(data).status


def test_a_name_is_a_token_whatever_the_byte(place: Place) -> None:
    allowed = {byte for byte in range(256) if ask_status(place, field_line(b"X%cY: a" % byte)) == 200}
    assert allowed == {*TOKEN, ord(":")}  # `X:Y: a` is a field too, another one
    allowed = {byte for byte in range(256) if ask_status(place, field_line(b"%cY: a" % byte)) == 200}
    assert allowed == {*TOKEN}


def test_a_value_has_no_control_whatever_the_byte(place: Place) -> None:
    allowed = {byte for byte in range(256) if ask_status(place, field_line(b"X: a%cb" % byte)) == 200}
    assert allowed == {0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}


def test_a_target_is_visible_ascii_whatever_the_byte(place: Place) -> None:
    allowed = {byte for byte in range(256) if ask_status(place, get(b"/a%cb" % byte)) == 200}
    assert allowed == {*range(0x21, 0x7F)} - {ord("#")}


def test_extensions_have_no_control_whatever_the_byte(place: Place) -> None:
    def ask(extension: bytes) -> int:
        return ask_status(place, chunks(b"1;" + extension + b"\r\na\r\n0\r\n\r\n"))

    for form in (b"a%cb", b"a=b%cc", b'a="b%cc"'):
        allowed = {byte for byte in range(256) if ask(form % byte) == 200}
        assert ord("a") in allowed
        assert not allowed & {*range(0x20), 0x7F} - {0x09}
