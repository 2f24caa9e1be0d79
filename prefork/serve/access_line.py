r"""One request → one line of the access log: the format compiled once, to a function.

Pure but for the clock that is handed in. Nothing that a client or an app said gets into a line as it is: control
bytes, quotes, backslashes and all that is not ASCII become `\xNN`, and a value has a longest length. A value that is
not known is `-`.

The function is Python text put together from the expressions below, one for each atom, because a call for each would
cost more than all of them. Nothing of the user's is in that text: names of fields are constants handed in beside it.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from prefork.config.access_format import Atom, split_format
from prefork.serve.ends import Ends

MOST_VALUE_CHARS = 8192
SHORT_VALUE_CHARS = 256
"""What a value is cut to when the whole line would be too long for a pipe."""
_MOST_CACHED = 1024
_LONGEST_CACHED = 512
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Facts = tuple[
    str,  # method; empty if it is not known, and then neither is the target
    tuple[str, str, bytes, bytes],  # target: see reader.Target
    str,  # version: `1.1`, or empty
    list[tuple[bytes, bytes]]
    | dict[bytes, bytes],  # fields of the request; in a list the app may have changed them
    bytes,  # request id, or empty
    Ends,
    bytes,  # head of the response; empty: nothing of it was sent
    int,  # bytes of its body that were sent
    float,  # seconds from the request's head to the response's end
    str,  # how it ended: KEPT, CLOSED, ABORTED
]
"""What is known of one request when it ends. A plain tuple: one is made for every request."""
_PARAMETERS = "method, target, version, fields, request_id, ends, head, size, seconds, ended"
KEPT, CLOSED, ABORTED = "+", "-", "X"
GONE = "499"
"""The status of a client that left before any answer; nginx's number, never on the wire."""

_HEADERS = "headers = fields if type(fields) is dict else dict(fields)"
_TARGET = "_, _, path, query = target"
_CLIENT = "client = ends[0]"
_ATOMS: Mapping[str, tuple[str, str]] = {
    "h": (_CLIENT, "client[0] if client else '-'"),
    "u": (_HEADERS, "find_user(headers, safe) if b'authorization' in headers else '-'"),
    "t": ("", "stamp.clf"),
    "r": ("", "request_lines[method, target, version]"),
    "m": ("", "method or '-'"),
    "U": (_TARGET, "safe[path]"),
    "q": (_TARGET, "safe[query] if query else ''"),
    "H": ("", "'HTTP/' + version if version else '-'"),
    "s": ("", "safe[head[9:12]] if head else GONE"),
    "B": ("", "size"),
    "b": ("", "size or '-'"),
    "f": (_HEADERS, "safe[headers[b'referer']] if b'referer' in headers else '-'"),
    "a": (_HEADERS, "safe[headers[b'user-agent']] if b'user-agent' in headers else '-'"),
    "T": ("", "int(seconds)"),
    "D": ("", "int(seconds * 1e6)"),
    "M": ("", "int(seconds * 1e3)"),
    "L": ("", "'%.6f' % seconds"),
    "id": ("", "show_id(request_id) if request_id else '-'"),
    "X": ("", "ended"),
}
"""What has to be done first, and the expression, over the parameters."""
_NAMED: Mapping[str, tuple[str, str]] = {
    "i": (_HEADERS, "safe[headers[{0}]] if {0} in headers else '-'"),
    "o": ("", "find_sent(head, {0}, safe)"),
    "e": (_HEADERS, "find_variable({0}, method, target, version, headers, ends, safe)"),
}


class Escaped(dict[bytes, str]):
    """From foreign bytes to text that is safe within a line; `-` for nothing. Remembers, within bounds: clients repeat
    themselves.
    """

    __slots__ = ("_limit",)

    def __init__(self, limit: int = MOST_VALUE_CHARS) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, raw: bytes) -> str:
        text = escape(raw, self._limit) or "-"
        if len(raw) <= _LONGEST_CACHED:
            if len(self) >= _MOST_CACHED:
                self.clear()
            self[raw] = text
        return text


class RequestLines(dict[tuple[str, tuple[str, str, bytes, bytes], str], str]):
    """From method, target and version to the request line; remembers, within bounds."""

    __slots__ = ("_safe",)

    def __init__(self, safe: Escaped) -> None:
        super().__init__()
        self._safe = safe

    def __missing__(self, asked: tuple[str, tuple[str, str, bytes, bytes], str]) -> str:
        method, (_, _, path, query), version = asked
        if not method:
            return "-"
        target = self._safe[path] + ("?" + self._safe[query] if query else "")
        line = f"{method} {target} HTTP/{version}" if version else f"{method} {target} -"
        if len(line) <= _LONGEST_CACHED:
            if len(self) >= _MOST_CACHED:
                self.clear()
            self[asked] = line
        return line


def escape(raw: object, limit: int = MOST_VALUE_CHARS) -> str:
    r"""Visible ASCII without quotes and backslashes; every other byte is `\xNN`."""
    data = raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "backslashreplace")
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", data[:limit].decode("latin-1"))[:limit]


class Stamp:
    """The time for people, as of the last `refresh`; rendered when the second has changed."""

    __slots__ = ("_second", "_wall", "_whole", "clf", "iso")

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._second = -1
        self._whole = ""
        self.clf = ""
        """`[10/Oct/2000:13:55:36 -0700]`, in local time."""
        self.iso = ""
        """`2000-10-10T20:55:36.123Z`, as in the log."""
        self.refresh()

    def refresh(self) -> None:
        """Read the clock."""
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._second = second
            at = time.localtime(second)
            # Not strftime's %b: its months are the locale's, which the app may have set.
            date = f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year:04}"
            clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
            self.clf = f"[{date}:{clock} {time.strftime('%z', at)}]"
            self._whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self.iso = f"{self._whole}.{int((now - second) * 1000):03d}Z"


def tells_seconds(line_format: str) -> bool:
    """Whether a text line says how long its request took."""
    return any(
        isinstance(piece, Atom) and piece.letter in {"T", "D", "M", "L"}
        for piece in split_format(line_format)
    )


Render = Callable[..., str]
"""Takes the facts one by one."""


def compile_text(line_format: str, stamp: Stamp, limit: int = MOST_VALUE_CHARS) -> Render:
    """The function that makes a line, without its end."""
    pid = f"<{os.getpid()}>"
    constants = {"l": "-", "p": pid}
    pieces: list[str | Atom] = []
    for piece in split_format(line_format):
        text = piece if isinstance(piece, str) else constants.get(piece.letter, "")
        if text and pieces and isinstance(pieces[-1], str):
            pieces[-1] += text
        else:
            pieces.append(text or piece)
    # Joined by a literal: that is faster than filling in a template.
    return _compile(pieces, 'f"""{columns}"""', "{{({})}}", stamp, limit, {})


def compile_json(line_format: str, stamp: Stamp, limit: int = MOST_VALUE_CHARS) -> Render:
    """The same facts as fields of one JSON object: always the common ones, and each named atom of the format."""
    common = {
        "client": "h", "user": "u", "method": "m", "path": "U", "query": "q", "protocol": "H", "status": "s",
        "bytes": "B", "referrer": "f", "agent": "a", "duration_us": "D", "request_id": "id", "ended": "X",
    }  # fmt: skip
    groups = {"i": "request_headers", "o": "response_headers", "e": "variables"}
    named = [piece for piece in split_format(line_format) if isinstance(piece, Atom) and piece.name]
    keys = [*common, *((groups[atom.letter], atom.name) for atom in named)]
    pid, encode = os.getpid(), msgspec.json.encode
    ended = {ABORTED: "aborted", CLOSED: "closed", KEPT: "kept"}

    def tell(columns: tuple[object, ...]) -> str:
        said: dict[str, Any] = {
            "time": stamp.iso,
            "level": "info",
            "logger": "prefork.access",
            "pid": pid,
            "event": "request",
        }
        for key, column in zip(keys, columns, strict=True):
            value = None if column == "-" else column
            if isinstance(key, str):
                said[key] = value
            else:
                said.setdefault(key[0], {})[key[1]] = value
        said["ended"] = ended[said["ended"] or CLOSED]
        said["status"] = int(said["status"])
        return encode(said).decode("ascii")

    wanted = [*map(Atom, common.values()), *named]
    return _compile(wanted, "tell(({columns}))", "({}), ", stamp, limit, {"tell": tell})


def _compile(  # for the two above
    pieces: Sequence[str | Atom], result: str, column: str, stamp: Stamp, limit: int, names: dict[str, Any]
) -> Render:
    safe = Escaped(limit)
    names |= {
        "safe": safe,
        "request_lines": RequestLines(safe),
        "stamp": stamp,
        "find_user": _find_user,
        "find_sent": _find_sent,
        "find_variable": find_variable,
        "show_id": _show_id,
        "GONE": GONE,
    }
    first: list[str] = []
    columns = ""
    for number, piece in enumerate(pieces):
        given = f"given_{number}"
        if isinstance(piece, str):
            before, expression = "", given
            names[given] = piece
        elif piece.name:
            before, expression = _NAMED[piece.letter]
            names[given] = piece.name if piece.letter == "e" else piece.name.encode("ascii")
            expression = expression.replace("{0}", given)
        else:
            before, expression = _ATOMS[piece.letter]
        if before and before not in first:
            first.append(before)
        columns += column.format(expression)
    lines = [f"def render({_PARAMETERS}):", *first, "return " + result.replace("{columns}", columns)]
    exec("\n    ".join(lines), names)  # noqa: S102  # our own text alone, see above
    made: Render = names["render"]
    return made


def _show_id(request_id: bytes) -> str:
    # Not remembered: no two are the same.
    return request_id.decode("ascii") if request_id.isalnum() else escape(request_id) or "-"


def _find_sent(head: bytes, wanted: bytes, safe: Escaped) -> str:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == wanted:
            return safe[value.strip()]
    return "-"


def _find_user(headers: Mapping[bytes, bytes], safe: Escaped) -> str:
    scheme, _, credentials = headers[b"authorization"].partition(b" ")
    if scheme.lower() != b"basic":
        return "-"
    try:
        user, colon, _ = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except binascii.Error:
        return "-"
    return safe[user] if colon else "-"


def find_variable(  # noqa: PLR0917  # called by generated text only
    name: str,
    method: str,
    target: tuple[str, str, bytes, bytes],
    version: str,
    headers: Mapping[bytes, bytes],
    ends: Ends,
    safe: Escaped,
) -> str:
    """What a CGI script would find under this name (RFC 3875 §4.1); else the process's own variable."""
    field = name.removeprefix("HTTP_")
    if field != name or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
        return safe[headers.get(field.replace("_", "-").lower().encode("latin-1", "replace"), b"")]
    _, _, path, query = target
    whole = path + b"?" + query if query else path
    client, server = ends.client or ("", ""), ends.server or ("", "")
    known: dict[str, object] = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": whole.decode("latin-1"),
        "RAW_URI": whole.decode("latin-1"),
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{version}" if version else "",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": client[1],
        "SERVER_NAME": server[0],
        "SERVER_PORT": server[1] or "",
        "REQUEST_SCHEME": ends.scheme,
        "wsgi.url_scheme": ends.scheme,
    }
    value = str(known[name]) if name in known else os.environ.get(name, "")
    return safe[value.encode("utf-8", "surrogateescape")]
