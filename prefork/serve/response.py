"""The bytes of a response head, made of what the app said.

Pure: no socket, no clock, no state but the caches handed in. Nothing the app says reaches the wire unchecked: a
name is a token, no value carries CR, LF or NUL (RFC 9110 §5.5), `Content-Length` is one number. Framing is the
server's own: the app's `Transfer-Encoding` and `Connection` lines are dropped, the wish in them (`close`) is kept.

Two renderers that look alike, because bytes (ASGI) and str (WSGI) each have one fastest way and this is the path
of every response. Most apps say the same head again and again: it is rendered and checked once.
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
_MOST_KNOWN_HEADS = 256
_LONGEST_KNOWN_BYTES = 1024

Head = tuple[bytes, int, int, bool]
"""A head without its tail, the declared length or `NO_LENGTH`, `WANTS_CLOSE | HAS_DATE | HAS_SERVER`, and whether its
status never has a body (RFC 9112 §6.3)."""

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


class Heads:
    """The heads that one service's app has said before, and the names in them. Bounded, and never holds a cookie."""

    __slots__ = ("_kinds", "_known", "_text_kinds")

    def __init__(self) -> None:
        self._known: dict[object, Head] = {}
        self._kinds: dict[bytes, int] = {}
        self._text_kinds: dict[str, int] = {}

    def render(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> Head:
        """The head of a response. Raises ValueError or TypeError, saying which part of it must not reach the wire."""
        key: Any = None
        if type(fields) is list or type(fields) is tuple:
            key = (status, *fields)
            try:
                head = self._known.get(key)
            except TypeError:  # a field that is a list, a value that is a bytearray
                key = None
            else:
                if head is not None:
                    return head
        line = render_status_line(status)
        head = (*render_fields(line, fields, self._kinds), status in (204, 304))
        return self._remember(key, head)

    def render_text(self, status: str, fields: list[tuple[str, str]]) -> Head:
        """As `render`, for WSGI's native strings (PEP 3333: each character one byte)."""
        key: Any = None
        if type(fields) is list:
            key = (status, *fields)
            try:
                head = self._known.get(key)
            except TypeError:
                key = None
            else:
                if head is not None:
                    return head
        code = status[:3]
        is_number = len(code) == 3 and code.isdigit() and code.isascii() and code >= "200"
        if not is_number or status[3:4] not in ("", " "):
            raise ValueError(f"not a status: {status!r}")
        # The space belongs to the line also without a reason (RFC 9112 §4).
        line = status if len(status) > 3 else status + " "
        return self._remember(
            key, (*render_text_fields(line, fields, self._text_kinds), code in ("204", "304"))
        )

    def _remember(self, key: object, head: Head) -> Head:
        text, length, _, is_bodiless = head
        if is_bodiless and length != NO_LENGTH and text.startswith(b"HTTP/1.1 204 "):
            raise ValueError("a 204 response has no Content-Length")  # RFC 9110 §8.6
        if key is not None and len(text) <= _LONGEST_KNOWN_BYTES and b"\r\nset-cookie:" not in text.lower():
            known = self._known
            if len(known) >= _MOST_KNOWN_HEADS:
                known.clear()
            known[key] = head
        return head


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
    """As `render_fields`, for native strings."""
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


def render_refusal(
    status: int, clock: Clock, *, close: bool = True, with_body: bool = True, fields: bytes = b""
) -> bytes:
    """A whole answer of the server's own: its reason as text. `fields` are whole lines of the head."""
    line = render_status_line(status)
    body = line[13:-2]
    head = b"%bContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % (line, len(body))
    tail = clock.tail_close if close else clock.tail
    return head + fields + tail + (body if with_body else b"")


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
