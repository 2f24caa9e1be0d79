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
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def render_status_line(status: int) -> bytes:
    """The status line with the standard reason, or an empty one for a code without. Raises ValueError."""
    line = STATUS_LINES.get(status)
    if line is not None:
        return line
    if type(status) is not int or not 100 <= status <= 999:
        raise ValueError(f"status must be an int of three digits, not {status!r}")
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
    head = b"".join(parts)
    # One CR and one LF per line are ours; any more came from the app.
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise ValueError("a response header contains CR, LF or NUL")
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
        text += name + ": " + value + "\r\n"
        lines += 1
    # One CR and one LF per line are ours; any more came from the app.
    if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
        raise ValueError("a response header contains CR, LF or NUL")
    return text.encode("latin-1"), length, flags


def render_refusal(
    status: int, clock: Clock, *, close: bool = True, with_body: bool = True, fields: bytes = b""
) -> bytes:
    """A whole answer of the server's own: its reason as text. `fields` are whole lines of the head."""
    line = render_status_line(status)
    body = line[13:-2]
    head = b"%bContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % (line, len(body))
    tail = clock.tail_close if close else clock.tail
    return head + fields + tail + (body if with_body else b"")


def _classify(name: bytes) -> int:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    return _KINDS.get(name.lower(), PLAIN)


def _parse_length(value: bytes) -> int:
    if not value.isdigit():  # also refuses a sign, a list and white space (RFC 9110 §8.6)
        raise ValueError(f"not a Content-Length: {value!r}")
    return int(value)
