"""What an app says for a head, rendered and checked once, and never again the wrong one."""

from __future__ import annotations

from typing import Any, cast

import pytest

from prefork.serve.response import HAS_DATE, NO_LENGTH, WANTS_CLOSE, Heads

FIELDS = [(b"content-type", b"text/plain"), (b"Content-Length", b"13")]


def test_the_same_head_is_rendered_once_and_is_the_same() -> None:
    heads = Heads()
    first = heads.render(200, FIELDS)
    assert first == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 13\r\n",
        13,
        0,
        False,
    )
    assert heads.render(200, list(FIELDS)) is first
    assert heads.render(200, tuple(FIELDS)) is first
    assert heads.render(201, FIELDS)[0].startswith(b"HTTP/1.1 201 Created\r\n")
    assert heads.render_text("200 OK", [("content-type", "text/plain")])[0] == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
    )


def test_another_order_or_spelling_is_another_head() -> None:
    heads = Heads()
    assert heads.render(200, FIELDS)[0] != heads.render(200, FIELDS[::-1])[0]
    assert heads.render_text("200 OK", [])[0] == b"HTTP/1.1 200 OK\r\n"
    assert heads.render_text("200 Fine", [])[0] == b"HTTP/1.1 200 Fine\r\n"
    assert heads.render_text("299", [])[0] == b"HTTP/1.1 299 \r\n"


@pytest.mark.parametrize(
    "fields",
    [
        [[b"x", b"y"]],
        [(b"x", bytearray(b"y"))],
        ((name, b"y") for name in (b"x",)),
        iter([(b"x", b"y")]),
    ],
    ids=["lists", "bytearray", "generator", "iterator"],
)
def test_fields_of_any_iterable_are_taken(fields: Any) -> None:
    assert Heads().render(200, fields)[0] == b"HTTP/1.1 200 OK\r\nx: y\r\n"


def test_a_cookie_is_not_remembered() -> None:
    heads = Heads()
    fields = [(b"Set-Cookie", b"session=secret")]
    assert heads.render(200, fields)[0] == b"HTTP/1.1 200 OK\r\nSet-Cookie: session=secret\r\n"
    assert heads.render(200, fields) is not heads.render(200, fields)
    assert heads._known == {}


def test_what_is_remembered_is_bounded() -> None:
    heads = Heads()
    for number in range(3000):
        heads.render(200, [(b"x", b"%d" % number)])
        heads.render_text("200 OK", [("x", str(number))])
    heads.render(200, [(b"x", b"y" * 5000)])
    assert len(heads._known) <= 256
    assert sum(len(head) for head, *_ in heads._known.values()) < 256 * 1024


@pytest.mark.parametrize(
    ("status", "fields", "error"),
    [
        (200, [(b"x", b"a\r\nb: c")], ValueError),
        (200, [(b"x\n", b"a")], ValueError),
        (200, [(b"x", b"a\0")], ValueError),
        (200, [(b"", b"a")], ValueError),
        (200, [("x", "a")], TypeError),
        (200, [(b"content-length", b"1"), (b"Content-Length", b"1")], ValueError),
        (200, [(b"content-length", b"-1")], ValueError),
        (204, [(b"content-length", b"0")], ValueError),
        (99, [], ValueError),
        (1000, [], ValueError),
        ("200", [], ValueError),
        (200.5, [], ValueError),
    ],
)
def test_what_must_not_reach_the_wire_is_refused_every_time(status: Any, fields: Any, error: type) -> None:
    heads = Heads()
    for _ in range(2):
        with pytest.raises(error):
            heads.render(status, fields)


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("200 OK\r\nx: y", []),
        ("2x0 OK", []),
        ("20", []),
        ("200OK", []),
        ("099 No", []),
        ("204 No Content", [("Content-Length", "0")]),
        ("200 OK", [("x", "a\nb")]),
        ("200 OK", [("x y", "a")]),
    ],
)
def test_wsgi_heads_are_refused_every_time_too(status: str, fields: list[tuple[str, str]]) -> None:
    heads = Heads()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"."):
            heads.render_text(status, fields)


def test_what_was_said_about_the_connection_is_remembered_with_the_head() -> None:
    heads = Heads()
    fields = [(b"Connection", b"close"), (b"Date", b"now"), (b"Transfer-Encoding", b"chunked")]
    for _ in range(2):
        assert heads.render(304, fields) == (
            b"HTTP/1.1 304 Not Modified\r\nDate: now\r\n",
            NO_LENGTH,
            WANTS_CLOSE | HAS_DATE,
            True,
        )


def test_an_equal_status_of_another_type_gives_the_same_bytes() -> None:
    heads = Heads()
    whole = heads.render(200, FIELDS)
    assert heads.render(cast("int", 200.0), FIELDS)[0] == whole[0]
