"""Trailers and early hints on the wire; pathsend has its tests beside `file_body`."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.serve.serving import GET, serving

pytestmark = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])

Message = dict[str, Any]


def start(*headers: tuple[bytes, bytes], trailers: bool = True) -> Message:
    return {"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def trailers(*headers: tuple[bytes, bytes], more: bool = False) -> Message:
    return {"type": "http.response.trailers", "headers": headers, "more_trailers": more}


def hint(*links: Any) -> Message:
    return {"type": "http.response.early_hint", "links": links}


def saying(*messages: Message, pause: bool = False) -> Any:
    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        for message in messages:
            await send(message)
            if pause:
                await asyncio.sleep(0)

    return app


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        (
            (start(), body(b"abc"), trailers((b"x-sum", b"1"), (b"x-two", b"2"))),
            b"3\r\nabc\r\n0\r\nx-sum: 1\r\nx-two: 2\r\n\r\n",
        ),
        (
            (start(), body(b"abc", more=True), body(b""), trailers((b"x-sum", b"1"))),
            b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n",
        ),
        (
            (start(), body(b""), trailers((b"x-sum", b"1"), more=True), trailers((b"x-two", b"2"))),
            b"0\r\nx-sum: 1\r\nx-two: 2\r\n\r\n",
        ),
        ((start(), body(b"abc"), trailers()), b"3\r\nabc\r\n0\r\n\r\n"),
        (
            (start(), body(b"x" * 2_000_000), trailers((b"x-sum", b"1"))),
            b"%x\r\n" % (1 << 20)
            + b"x" * (1 << 20)
            + b"\r\n%x\r\n" % (2_000_000 - (1 << 20))
            + b"x" * (2_000_000 - (1 << 20))
            + b"\r\n0\r\nx-sum: 1\r\n\r\n",
        ),
    ],
)
def test_trailers_follow_a_chunked_body_and_the_connection_goes_on(
    loop: str, messages: tuple[Message, ...], sent: bytes, *, pause: bool
) -> None:
    with serving(saying(*messages, pause=pause), loop=loop) as served:
        client = served.connect()
        for _ in range(2):
            client.send(GET)
            assert b"Transfer-Encoding: chunked\r\n" in client.read_until(b"\r\n\r\n")
            assert client.read_exactly(len(sent)) == sent


@pytest.mark.parametrize(
    ("request_", "length"),
    [
        (GET.replace(b"1.1", b"1.0"), None),
        (GET.replace(b"GET", b"HEAD"), None),
        (GET, b"3"),
    ],
    ids=["1.0", "HEAD", "length"],
)
def test_trailers_are_dropped_where_the_response_has_no_room(
    loop: str, request_: bytes, length: bytes | None
) -> None:
    fields = [] if length is None else [(b"content-length", length)]
    app = saying(start(*fields), body(b"abc"), trailers((b"x-sum", b"1")))
    with serving(app, loop=loop) as served:
        client = served.connect()
        response = client.ask(request_)
        assert response.body == (b"" if request_.startswith(b"HEAD") else b"abc")
        assert response.get("transfer-encoding") is None
        if b"1.1" in request_:
            assert client.ask(request_).status == 200
        else:
            assert client.is_closed()


@pytest.mark.parametrize(
    "messages",
    [
        (start(), body(b"abc")),
        (start(), body(b"abc"), trailers((b"x", b"a\r\nb: c"))),
        (start(), body(b"abc"), trailers((b"x\n", b"a"))),
        (start(), body(b"abc"), trailers((b"Content-Length", b"3"))),
        (start(), body(b"abc"), trailers((b"transfer-encoding", b"chunked"))),
        (start(), body(b"abc"), trailers((b"Set-Cookie", b"a=1"))),
        (start(), body(b"abc"), trailers(more=True)),
        (start(), body(b"abc"), body(b"more"), trailers()),
        (start(trailers=False), body(b"abc", more=True), trailers()),
        (start(), body(b"abc", more=True), trailers()),
    ],
)
def test_wrong_or_missing_trailers_never_end_the_response(
    loop: str, messages: tuple[Message, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(saying(*messages), loop=loop) as served:
        client = served.connect()
        client.send(GET)
        assert b"0\r\n" not in client.read_to_end().partition(b"\r\n\r\n")[2]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_early_hints_come_before_the_response(loop: str) -> None:
    links = (b"</a.css>; rel=preload; as=style", b"</b.js>; rel=preload; as=script")
    app = saying(hint(*links), hint(links[0]), hint(), start(trailers=False), body(b"abc"))
    with serving(app, loop=loop) as served:
        client = served.connect()
        for _ in range(2):
            first = client.ask(GET)
            assert (first.status, first.reason) == (103, "Early Hints")
            assert first.headers == [("link", link.decode()) for link in links]
            assert client.read_response().headers == [("link", links[0].decode())]
            final = client.read_response()
            assert (final.status, final.body) == (200, b"abc")


def test_http_1_0_is_sent_no_early_hints(loop: str) -> None:
    with serving(saying(hint(b"</a>"), start(trailers=False), body(b"abc")), loop=loop) as served:
        assert served.ask(GET.replace(b"1.1", b"1.0")).status == 200


@pytest.mark.parametrize("link", [b"</a>\r\nX: y", b"a\0", "text", 3])
def test_early_hints_are_checked_as_headers_are(loop: str, link: Any) -> None:
    with serving(saying(hint(link), start(trailers=False), body(b"abc")), loop=loop) as served:
        assert served.ask(GET).status == 500


def test_early_hints_after_the_start_are_refused(loop: str) -> None:
    with serving(saying(start(trailers=False), hint(b"</a>"), body(b"abc")), loop=loop) as served:
        assert served.ask(GET).status == 500
