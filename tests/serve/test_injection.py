"""Whatever an app says of its response: what is on the wire is that, line by line, or nothing (RFC 9112 §11.1)."""

from __future__ import annotations

import re
from typing import Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prefork.serve.response import NO_LENGTH, Heads, render_status_line

PROFILE = settings(max_examples=150, derandomize=True, database=None, deadline=None)
OURS = {b"transfer-encoding", b"connection", b"keep-alive"}  # the framing is the server's own
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
PLAIN = re.compile(rb"[\x20-\x7e\x80-\xff\t]*")

EVIL = st.sampled_from(
    [b"\r\nX: y", b"\n", b"\r", b"\0", b"\r\n\r\n<html>", b": ", b" ", b"\t", b"\r\nSet-Cookie: a"]
)
BYTES = st.lists(st.one_of(st.binary(max_size=6), EVIL, st.sampled_from([b"a", b"X-Name"])), max_size=4).map(
    b"".join
)
NAMES = st.one_of(
    st.from_regex(TOKEN, fullmatch=True),
    BYTES,
    st.sampled_from(
        [b"Content-Length", b"Connection", b"Transfer-Encoding", b"Date", b"Server", b"Set-Cookie", b""]
    ),
)
VALUES = st.one_of(BYTES, st.sampled_from([b"0", b"12", b"+1", b"1, 1", b"close", b"chunked", b""]))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
INJECTED = [(b"X", b"a\r\nSet-Cookie: evil=1")]


def check_wire(head: bytes, length: int, status_line: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """The head is exactly these lines, and a client reads exactly these fields."""
    kept = [(name, value) for name, value in fields if name.lower() not in OURS]
    assert head == status_line + b"".join(b"%b: %b\r\n" % field for field in kept)
    assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == 1 + len(kept)
    assert b"\0" not in head
    lengths = [int(value) for name, value in kept if name.lower() == b"content-length"]
    assert lengths == ([] if length == NO_LENGTH else [length])
    assert all(TOKEN.fullmatch(name) for name, _ in kept)
    # h11 takes fewer bytes in a value than RFC 9110 §5.5 leaves to a sender that must not be trusted.
    if all(PLAIN.fullmatch(value) for _, value in kept) and (length == NO_LENGTH or length < 10**20):
        assert read_with_h11(head + b"\r\n") == [(name.lower(), value.strip(b" \t")) for name, value in kept]


def read_with_h11(head: bytes) -> list[tuple[bytes, bytes]]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(head)
    event = client.next_event()
    assert isinstance(event, (h11.Response, h11.InformationalResponse))
    return [(bytes(name), bytes(value)) for name, value in event.headers]


def may_be_sent(fields: list[tuple[bytes, bytes]], status: int) -> bool:
    """Whether nothing of it could make another line, or another length."""
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    return (
        all(TOKEN.fullmatch(name) for name, _ in fields)
        and all(not re.search(rb"[\r\n\0]", value) for name, value in fields if name.lower() not in OURS)
        and len(lengths) < (1 if status == 204 else 2)
        and all(value.isdigit() for value in lengths)
    )


@PROFILE
@given(fields=FIELDS, status=st.integers(200, 999))
@example(fields=INJECTED, status=200)
@example(fields=[(b"X\r\nY", b"a")], status=200)
@example(fields=[(b"Connection", b"close\r\nX: y")], status=200)
def test_an_asgi_app_cannot_put_a_line_on_the_wire(fields: list[tuple[bytes, bytes]], status: int) -> None:
    heads = Heads()
    line = render_status_line(status)
    for _ in range(2):  # the second time it is known
        try:
            head, length, *_ = heads.render(status, fields)
        except ValueError:
            assert not may_be_sent(fields, status)
        else:
            assert may_be_sent(fields, status)
            check_wire(head, length, line, fields)


@PROFILE
@given(fields=FIELDS, code=st.integers(200, 999), reason=BYTES)
@example(fields=INJECTED, code=200, reason=b"OK")
@example(fields=[], code=200, reason=b"OK\r\nX: y")
@example(fields=[], code=200, reason=b"OK\0")
def test_a_wsgi_app_cannot_put_a_line_on_the_wire(
    fields: list[tuple[bytes, bytes]], code: int, reason: bytes
) -> None:
    heads = Heads()
    status = f"{code} {reason.decode('latin-1')}"
    texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
    harmless = may_be_sent(fields, code) and not re.search(rb"[\r\n\0]", reason)
    for _ in range(2):
        try:
            head, length, *_ = heads.render_text(status, texts)
        except ValueError:
            assert not harmless
        else:
            assert harmless
            check_wire(head, length, b"HTTP/1.1 " + status.encode("latin-1") + b"\r\n", fields)


@PROFILE
@given(text=st.text(st.characters(min_codepoint=256), min_size=1, max_size=5))
def test_a_character_that_is_no_byte_is_refused(text: str) -> None:
    for status, fields in (("200 OK", [("X", text)]), ("200 OK", [(text, "a")]), (f"200 {text}", [])):
        with pytest.raises(ValueError):
            Heads().render_text(status, fields)
    with pytest.raises(ValueError):
        Heads().render_text("200 OK", [("Content-Length", text)])


@pytest.mark.parametrize("status", [0, 99, 1000, -200, 200.5, "200", b"200", None, True])
def test_a_status_is_an_int_of_three_digits(status: Any) -> None:
    with pytest.raises(ValueError):
        render_status_line(status)


@pytest.mark.parametrize(
    "fields",
    [[("X", b"a")], [(b"X", "a")], [(b"X", 1)], [(b"X", None)], [(None, b"a")], [b"X"], [(b"X",)], None],
)
def test_what_is_no_bytes_is_refused(fields: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Heads().render(200, fields)
