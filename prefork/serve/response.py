"""The bytes of a response head, made of what the app said.

Pure: no socket, no clock, no state but the caches handed in. Nothing the app says reaches the wire unchecked: a
name is a token, no value carries CR, LF or NUL (RFC 9110 §5.5), `Content-Length` is one number. Framing is the
server's own: the app's `Transfer-Encoding` and `Connection` lines are dropped, the wish in them (`close`) is kept.

Two renderers that look alike, because bytes (ASGI) and str (WSGI) each have one fastest way and this is the path
of every response.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from prefork.serve.clock import Clock

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

PLAIN, LENGTH, DROPPED, CONNECTION, DATE, SERVER = range(6)
_KINDS = {
    b"content-length": LENGTH,
    b"transfer-encoding": DROPPED,
    b"keep-alive": DROPPED,
    b"connection": CONNECTION,
    b"date": DATE,
    b"server": SERVER,
}

WANTS_CLOSE, HAS_DATE, HAS_SERVER = 1, 2, 4
NO_LENGTH = -1

_MOST_CACHED_NAMES = 1024

STATUS_LINES: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii")
    for status in HTTPStatus
    if status >= 200
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def render_status_line(status: int) -> bytes:
    """The status line of a final response, with the standard reason or none. Raises ValueError."""
    line = STATUS_LINES.get(status)
    if line is not None:
        return line
    if type(status) is not int or not 200 <= status <= 999:
        raise ValueError(f"the status of a response is an int from 200 to 999, not {status!r}")
    return b"HTTP/1.1 %d \r\n" % status


def render_fields(
    status_line: bytes, fields: Iterable[tuple[bytes, bytes]], kinds: dict[bytes, int]
) -> tuple[bytes, int, int]:
    """The head without its tail, the declared length or `NO_LENGTH`, and `WANTS_CLOSE | HAS_DATE | HAS_SERVER`.

    `kinds` is the caller's cache of names already checked. Raises ValueError or TypeError, saying which field.
    """
    parts = [status_line]
    length = NO_LENGTH
    flags = 0
    lines = 1
    for name, value in fields:
        kind = kinds.get(name)
        if kind is None:
            kind = _classify(name)
            if len(kinds) < _MOST_CACHED_NAMES:
                kinds[name] = kind
        if kind:
            if kind == LENGTH:
                if length != NO_LENGTH:
                    raise ValueError("the response has two Content-Length fields")
                length = _parse_length(value)
            elif kind == DROPPED:
                continue
            elif kind == CONNECTION:
                if b"close" in value.lower():
                    flags |= WANTS_CLOSE
                continue
            else:
                flags |= HAS_DATE if kind == DATE else HAS_SERVER
        parts += (name, b": ", value, b"\r\n")
        lines += 1
    try:
        head = b"".join(parts)
    except TypeError:
        raise TypeError(_name_culprit(fields, bytes)) from None
    # One CR and one LF per line are ours; any more came from the app.
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise ValueError(_name_culprit(fields, bytes))
    return head, length, flags


def render_text_fields(
    status: str, fields: Iterable[tuple[str, str]], kinds: dict[str, int]
) -> tuple[bytes, int, int]:
    """As `render_fields`, for WSGI's native strings (PEP 3333: each character one byte)."""
    text = f"HTTP/1.1 {status}\r\n"
    length = NO_LENGTH
    flags = 0
    lines = 1
    for name, value in fields:
        kind = kinds.get(name)
        if kind is None:
            kind = _classify(name.encode("latin-1"))
            if len(kinds) < _MOST_CACHED_NAMES:
                kinds[name] = kind
        if kind:
            if kind == LENGTH:
                if length != NO_LENGTH:
                    raise ValueError("the response has two Content-Length fields")
                length = _parse_length(value.encode("latin-1"))
            elif kind == DROPPED:
                continue
            elif kind == CONNECTION:
                if "close" in value.lower():
                    flags |= WANTS_CLOSE
                continue
            else:
                flags |= HAS_DATE if kind == DATE else HAS_SERVER
        try:
            text += name + ": " + value + "\r\n"
        except TypeError:
            raise TypeError(_name_culprit(fields, str)) from None
        lines += 1
    # One CR and one LF per line are ours; any more came from the app.
    if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
        raise ValueError(_name_culprit(fields, str))
    try:
        return text.encode("latin-1"), length, flags
    except UnicodeEncodeError:
        raise ValueError(_name_culprit(fields, str)) from None


def render_refusal(status: int, clock: Clock, *, close: bool = True, with_body: bool = True) -> bytes:
    """A whole answer of the server's own: its reason as text."""
    line = render_status_line(status)
    body = line[13:-2]
    head = b"%bContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % (line, len(body))
    tail = clock.tail_close if close else clock.tail
    return head + tail + (body if with_body else b"")


def _name_culprit(fields: Iterable[tuple[Any, Any]], kind: type[Any]) -> str:
    # Only now, once it is known that there is one: the usual response pays nothing for it.
    for name, value in fields:
        if not isinstance(value, kind):
            return f"the value of response header {name!r} is {type(value).__name__}, not {kind.__name__}"
        text = value if isinstance(value, str) else bytes(value).decode("latin-1")
        if not text.isprintable() and set(text) & {"\r", "\n", "\0"}:
            return f"response header {name!r} contains CR, LF or NUL: {value!r}"
        if max(text, default="") > "\xff":
            return f"response header {name!r} is not latin-1: {value!r}"
    return "the status line contains CR, LF or NUL, or is not latin-1"


def _classify(name: bytes) -> int:
    if not isinstance(name, bytes):
        raise TypeError(f"the name of a response header is bytes, not {type(name).__name__}: {name!r}")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    return _KINDS.get(name.lower(), PLAIN)


def _parse_length(value: bytes) -> int:
    if not value.isdigit():  # also refuses a sign, a list and white space (RFC 9110 §8.6)
        raise ValueError(f"not a Content-Length: {value!r}")
    return int(value)
