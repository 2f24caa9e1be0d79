"""What an app must not say never reaches the wire, and the log names it; a response is as long as it says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serve.serving import GET, HOST, serving, wait_until

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
WSGI = pytest.mark.parametrize("interface", ["wsgi", "wsgi-threads"])
EVERY = pytest.mark.parametrize("interface", ["asgi", "wsgi", "wsgi-threads"])


def saying(interface: str, status: Any, headers: list[tuple[Any, Any]], body: Any = b"four") -> Any:
    """An app that answers with this; names and values are text, made bytes for ASGI."""

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        fields = [tuple(x.encode() if isinstance(x, str) else x for x in field) for field in headers]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def wsgi(_environ: Any, start_response: Any) -> list[Any]:
        start_response(f"{status} Said" if isinstance(status, int) else status, headers)
        return [body]

    return asgi if interface == "asgi" else wsgi


@LOOPS
@EVERY
@pytest.mark.parametrize(
    ("field", "told"),
    [
        (("X-Bad", "a\r\nEvil: 1"), "X-Bad"),
        (("X-Bad", "a\nEvil: 1"), "X-Bad"),
        (("X-Bad", "a\0b"), "X-Bad"),
        (("X-Bad\r\nEvil", "1"), r"X-Bad\\r\\nEvil"),
        (("", "1"), "header name"),
        (("X-Bad", 7), "X-Bad"),
        (("X-Bad", None), "X-Bad"),
        (("Content-Length", "-4"), "Content-Length: b'-4'"),
        (("Content-Length", "4, 4"), "Content-Length: b'4, 4'"),
        (("Content-Length", "four"), "Content-Length: b'four'"),
    ],
)
def test_a_wrong_header_is_a_500_and_the_log_says_which(
    interface: str, loop: str, field: tuple[Any, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(saying(interface, 200, [("X-Good", "1"), field]), interface, loop) as served:
        response = served.ask(GET)
    assert (response.status, response.body) == (500, b"Internal Server Error")
    assert response.get("evil") is None
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert told.replace("\\\\", "\\") in str(record.exc_info[1])


@LOOPS
@EVERY
@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (100, [], b"four"),
        (101, [], b"four"),
        (199, [], b"four"),
        (99, [], b"four"),
        (1000, [], b"four"),
        (-200, [], b"four"),
        (200, [], "text"),
        (200, [], None),
        (200, [("Content-Length", "4")], "text"),
        (200, [("Content-Length", "4"), ("content-length", "4")], b"four"),
        (204, [("Content-Length", "4")], b"four"),
    ],
)
def test_a_wrong_response_is_a_500_and_the_connection_goes_on(
    interface: str, loop: str, status: int, headers: Any, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(saying(interface, status, headers, body), interface, loop) as served:
        client = served.connect()
        for _ in range(2):
            assert client.ask(GET).status == 500
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 2


@LOOPS
def test_a_body_that_is_text_is_told_to_an_asgi_app_in_words(loop: str) -> None:
    told: list[TypeError] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        for more in (True, False):
            try:
                await send({"type": "http.response.body", "body": "text", "more_body": more})
            except TypeError as error:
                told.append(error)
        await send({"type": "http.response.body", "body": b"mend"})

    with serving(app, loop=loop, interface="asgi") as served:
        assert served.ask(GET).body == b"mend"
    assert all("bytes" in str(error) for error in told)
    assert len(told) == 2


class Body:
    """Chunks of an iterable that remembers being closed."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self.closed += 1


@LOOPS
@WSGI
@pytest.mark.parametrize("by", ["generator", "write"])
@pytest.mark.parametrize("chunks", [[b"fo", b"ur!"], [b"fo", b"u"], [b"fo", b"ur", b"", b"!"]])
def test_wsgi_never_sends_more_or_fewer_bytes_than_its_content_length(
    interface: str, loop: str, by: str, chunks: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    results: list[Body] = []

    def app(_environ: Any, start_response: Any) -> Body:
        write = start_response("200 OK", [("Content-Length", "4")])
        result = Body([] if by == "write" else chunks)
        results.append(result)
        for chunk in chunks if by == "write" else ():
            write(chunk)
        return result

    with serving(app, interface, loop) as served:
        client = served.connect()
        client.send(GET + GET)
        data = client.read_to_end()
        wait_until(lambda: len(caplog.records) > 0)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"four".startswith(body)
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    if by == "generator":
        assert results[0].closed == 1


@LOOPS
@EVERY
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("HEAD", 304)])
def test_head_and_304_keep_the_content_length_and_drop_the_body(
    interface: str, loop: str, method: str, status: int
) -> None:
    app = saying(interface, status, [("Content-Length", "1234")])
    with serving(app, interface, loop) as served:
        client = served.connect()
        for _ in range(2):
            response = client.ask(f"{method} / HTTP/1.1\r\n".encode() + HOST + b"\r\n")
            assert (response.status, response.get("content-length")) == (status, "1234")
            if method == "HEAD":
                client.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
                assert client.read_response(b"HEAD").status == status


@LOOPS
@EVERY
def test_a_failing_head_request_has_no_body(interface: str, loop: str) -> None:
    with serving(saying(interface, 200, [("X", "a\nb")]), interface, loop) as served:
        client = served.connect()
        for _ in range(2):
            response = client.ask(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (response.status, response.get("content-length")) == (500, "21")
            assert response.get("date") is not None


@LOOPS
@WSGI
@pytest.mark.parametrize("start", [False, True])
def test_close_is_called_when_the_client_is_gone_or_start_response_never_came(
    interface: str, loop: str, *, start: bool
) -> None:
    results: list[Body] = []

    def app(_environ: Any, start_response: Any) -> Body:
        if start:
            start_response("200 OK", [])
        results.append(Body([b"x" * 100_000] * 500 if start else []))
        return results[-1]

    with serving(app, interface, loop) as served:
        client = served.connect()
        client.send(GET)
        if start:
            client.read_until(b"\r\n\r\n")
        else:
            assert client.read_response().status == 500
        client.close()
        wait_until(lambda: results[0].closed == 1)
