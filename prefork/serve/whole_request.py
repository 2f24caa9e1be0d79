"""Requests that need no parser: whole in one read, of the plainest form, and mostly of lines that came before.

What a client says of itself it says with each request: on one connection the whole block of field lines is usually
the one before, byte by byte, and on a new one most of its lines are known from others. So a line is checked once,
against the grammar (RFC 9112 §2 to §5), and remembered with what it says.

This accepts a part of what llhttp accepts, never more, and never decides that something is refused: whatever is
not plain (another version, a coding, an upgrade, an expectation, two Hosts, anything odd) is None here, and the
parser's. Credentials are not remembered beyond their connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prefork.serve.hosts import is_host
from prefork.serve.targets import Target, split_path
from prefork.serve.vocabulary import LONGEST_CACHED, MOST_CACHED_LINES, MOST_CACHED_TARGETS, Vocabulary

if TYPE_CHECKING:
    from prefork.serve.ends import Ends

Field = tuple[bytes, bytes]
Fields = list[Field]

LONGEST_LENGTH = 20  # digits of 2^64; Python's int() refuses thousands of zeros in its own way
END = b"\r\n\r\n"

PLAIN, HOST, LENGTH, CLOSES, SAID = range(5)
"""What a field is to us; the last: noted by the vocabulary, and not one that is everybody's."""

_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) (/[!\"$-~]*) HTTP/1\.1")
# The blanks around a value are not its own, and are not matched here: each way to share them out would be tried.
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")
_CREDENTIALS = frozenset((b"authorization", b"cookie", b"proxy-authorization"))
_CONNECTION = {b"keep-alive": PLAIN, b"close": CLOSES}
_NOT_PLAIN = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"proxy-connection"))


class Block:
    """What the field lines of a head say."""

    __slots__ = (
        "asked_method",
        "asked_target",
        "by_name",
        "ends",
        "environ",
        "fields",
        "host",
        "is_last",
        "length_bytes",
        "said",
    )

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        """Names in lower case, in the order they came."""
        self.host = b""
        self.length_bytes = 0
        """Of the body."""
        self.is_last = False
        """The client asks for nothing more on this connection."""
        self.said: dict[bytes, bytes] = {}
        """The fields that the vocabulary notes, beside those that are everybody's; repeated ones joined by commas."""
        self.ends: Ends | None = None
        """Whom the request is from and to, if they tell that and are believed."""
        self.environ: dict[str, Any] | None = None
        """The same for WSGI, when somebody has made it …"""
        self.asked_method = ""
        self.asked_target: Target | None = None
        """… with what the last request with these fields asked for."""
        self.by_name: dict[bytes, bytes] | None = None
        """The same for the access log, when it has asked."""

    def name_fields(self) -> dict[bytes, bytes]:
        """The fields by their names, of repeated ones the last."""
        self.by_name = dict(self.fields)
        return self.by_name


def read_request_line(line: bytes, vocabulary: Vocabulary) -> tuple[str, Target] | None:
    """The method and the target, for `vocabulary.requests` to know; None if the parser has to see it."""
    match = _REQUEST.fullmatch(line)
    if match is None:
        return None
    name, url = match.groups()
    asked = name.decode("ascii"), vocabulary.targets.get(url) or split_path(url)
    if len(line) <= LONGEST_CACHED:
        if len(vocabulary.requests) >= MOST_CACHED_TARGETS:
            vocabulary.requests.clear()
        vocabulary.requests[line] = asked
    return asked


def read_block(raw: bytes, vocabulary: Vocabulary) -> Block | None:
    """The field lines up to the empty one; None if the parser has to see them."""
    lines = raw.split(b"\r\n")
    known: list[Any] = list(map(vocabulary.lines.get, lines))
    block = Block(known)
    has_host = has_length = False
    for at, plain in enumerate(known):
        if plain is not None:
            continue
        line = lines[at]
        note = vocabulary.noted_lines.get(line) or _read_line(line, vocabulary)
        if note is None:
            return None
        known[at] = field = note[0]
        kind = note[1]
        if kind == SAID:
            said = block.said
            name, value = field
            said[name] = said[name] + b"," + value if name in said else value
        elif kind == HOST:
            if has_host:
                return None
            has_host = True
            block.host = field[1]
        elif kind == LENGTH:
            if has_length:
                return None
            has_length = True
            block.length_bytes = int(field[1])
        elif kind == CLOSES:
            block.is_last = True
    return block if has_host else None


def _read_line(line: bytes, vocabulary: Vocabulary) -> tuple[Field, int] | None:
    """A field that was not known, and its kind; None if it is not plain."""
    match = _FIELD.fullmatch(line)
    if match is None:
        return None
    name, value = match[1], match[2].strip(b" \t")
    lower = vocabulary.plain_names.get(name) or name.lower()
    kind = PLAIN
    if lower in vocabulary.noted or lower in _NOT_PLAIN:
        found = _find_kind(lower, value)
        if found is None:
            return None
        kind = found
    field = lower, value
    if len(line) <= LONGEST_CACHED and lower not in _CREDENTIALS:
        if len(vocabulary.lines) + len(vocabulary.noted_lines) >= MOST_CACHED_LINES:
            vocabulary.lines.clear()
            vocabulary.noted_lines.clear()
        if kind == PLAIN:
            vocabulary.lines[line] = field
        else:
            vocabulary.noted_lines[line] = field, kind
    return field, kind


def _find_kind(lower: bytes, value: bytes) -> int | None:
    if lower in _NOT_PLAIN:
        return None
    if lower == b"host":
        return HOST if is_host(value) else None
    if lower == b"connection":
        return _CONNECTION.get(value.lower())
    if lower == b"content-length":
        return LENGTH if value.isdigit() and len(value) <= LONGEST_LENGTH else None
    return SAID
