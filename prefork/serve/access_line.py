r"""One request → one line of the access log: the format compiled once, to a function.

Pure but for the clock that is handed in. Nothing that a client or an app said gets into a line as it is: control
bytes, quotes, backslashes and all that is not ASCII become `\xNN`, and a value has a longest length. A value that is
not known is `-`.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from prefork.config.access_format import ATOMS, Atom, split_format
from prefork.serve.ends import Ends

MOST_VALUE_CHARS = 8192
SHORT_VALUE_CHARS = 256
"""What a value is cut to when the whole line would be too long for a pipe."""
_MOST_CACHED = 1024
_LONGEST_CACHED = 512
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")
NOWHERE = Ends(None, None, "http", b"")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Facts:
    """What is known of one request when it ends. One object, filled in anew for every line."""

    __slots__ = (
        "aborted",
        "body_bytes",
        "ends",
        "fields",
        "head",
        "may_go_on",
        "method",
        "query",
        "raw_path",
        "request_fields",
        "request_id",
        "seconds",
        "status",
        "version",
    )

    def __init__(self) -> None:
        self.ends = NOWHERE
        self.method = ""
        """Empty when it is not known; then neither is the path."""
        self.raw_path = b""
        self.query = b""
        self.version = ""
        """`1.1`, or empty."""
        self.status = 0
        self.body_bytes = 0
        self.head = b""
        """Of the response, as sent."""
        self.request_fields: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}
        """The same by name, while a line is made: the last of each."""
        self.request_id = b""
        self.seconds = 0.0
        self.aborted = False
        """The response never became complete."""
        self.may_go_on = False


class Escaper:
    """Foreign bytes → text that is safe within a line. Remembers, within bounds: clients repeat themselves."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int = MOST_VALUE_CHARS) -> None:
        self._known: dict[bytes, str] = {}
        self._limit = limit

    def escape(self, raw: bytes) -> str:
        """As it stands in the line; `-` for nothing."""
        known = self._known.get(raw)
        if known is not None:
            return known
        text = escape(raw, self._limit) or "-"
        if len(raw) <= _LONGEST_CACHED:
            if len(self._known) >= _MOST_CACHED:
                self._known.clear()
            self._known[raw] = text
        return text


def escape(raw: object, limit: int = MOST_VALUE_CHARS) -> str:
    r"""Visible ASCII without quotes and backslashes; every other byte is `\xNN`."""
    data = raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "backslashreplace")
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", data[:limit].decode("latin-1"))[:limit]


class Stamp:
    """The time for people, rendered once a second."""

    __slots__ = ("_at", "_clf", "_iso", "_wall")

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._at = -1
        self._clf = self._iso = ""

    def clf(self) -> str:
        """`[10/Oct/2000:13:55:36 -0700]`, in local time."""
        now = int(self._wall())
        if now != self._at:
            self._render(now)
        return self._clf

    def iso(self) -> str:
        """`2000-10-10T20:55:36.123Z`, as in the log."""
        now = self._wall()
        second = int(now)
        if second != self._at:
            self._render(second)
        return f"{self._iso}.{int((now - second) * 1000):03d}Z"

    def _render(self, second: int) -> None:
        self._at = second
        at = time.localtime(second)
        # Not strftime's %b: its months are the locale's, which the app may have set.
        date = f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year:04}"
        self._clf = f"[{date}:{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} {time.strftime('%z', at)}]"
        self._iso = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


Render = Callable[[Facts], str]
Getter = Callable[[Facts], object]


def compile_text(text_format: str, stamp: Stamp, limit: int = MOST_VALUE_CHARS) -> Render:
    """The function that makes a line, without its end."""
    getters = _make_getters(stamp, Escaper(limit).escape)
    template, wanted = "", []
    for piece in split_format(text_format):
        if isinstance(piece, str):
            template += piece.replace("%", "%%")
        elif piece.letter == "l":
            template += "-"
        elif piece.letter == "p":
            template += f"<{os.getpid()}>"
        else:
            template += "%s"
            wanted.append(_find_getter(piece, getters))
    columns = tuple(wanted)

    def render(facts: Facts) -> str:
        facts.fields = dict(facts.request_fields)
        return template % tuple([get(facts) for get in columns])

    return render


def compile_json(text_format: str, stamp: Stamp, limit: int = MOST_VALUE_CHARS) -> Render:
    """The same facts as fields of one JSON object: always the common ones, and each atom of the format besides."""
    escape_known = Escaper(limit).escape
    getters = _make_getters(stamp, escape_known)
    named = [piece for piece in split_format(text_format) if isinstance(piece, Atom) and piece.name]
    groups = {"i": "request_headers", "o": "response_headers", "e": "variables"}
    extra = [(groups[piece.letter], piece.name, _find_getter(piece, getters)) for piece in named]
    pid = os.getpid()
    encode = msgspec.json.encode
    user, referrer, agent = getters["u"], getters["f"], getters["a"]

    def render(facts: Facts) -> str:
        facts.fields = dict(facts.request_fields)
        said: dict[str, Any] = {
            "time": stamp.iso(),
            "level": "info",
            "logger": "prefork.access",
            "pid": pid,
            "event": "request",
            "client": facts.ends.client[0] if facts.ends.client else None,
            "user": _none_for_dash(user(facts)),
            "method": facts.method or None,
            "path": escape_known(facts.raw_path) if facts.method else None,
            "query": escape_known(facts.query) if facts.query else "",
            "protocol": "HTTP/" + facts.version if facts.version else None,
            "status": facts.status,
            "bytes": facts.body_bytes,
            "referrer": _none_for_dash(referrer(facts)),
            "agent": _none_for_dash(agent(facts)),
            "duration_us": int(facts.seconds * 1e6),
            "complete": not facts.aborted,
        }
        if facts.request_id:
            said["request_id"] = _show_id(facts.request_id)
        for group, name, get in extra:
            said.setdefault(group, {})[name] = _none_for_dash(get(facts))
        return encode(said).decode("ascii")

    return render


def _show_id(request_id: bytes) -> str:
    # Not from the cache: no two are the same.
    return request_id.decode("ascii") if request_id.isalnum() else escape(request_id)


def _none_for_dash(value: object) -> object:
    return None if value == "-" else value


def _make_getters(stamp: Stamp, safe: Callable[[bytes], str]) -> dict[str, Any]:
    def request_line(facts: Facts) -> str:
        if not facts.method:
            return "-"
        target = safe(facts.raw_path)
        if facts.query:
            target += "?" + safe(facts.query)
        return (
            f"{facts.method} {target} HTTP/{facts.version}" if facts.version else f"{facts.method} {target} -"
        )

    clf = stamp.clf
    getters: dict[str, Getter] = {
        "h": lambda facts: facts.ends.client[0] if facts.ends.client else "-",
        "l": lambda _: "-",
        "u": lambda facts: _find_user(facts, safe),
        "t": lambda _: clf(),
        "r": request_line,
        "m": lambda facts: facts.method or "-",
        "U": lambda facts: safe(facts.raw_path),
        "q": lambda facts: safe(facts.query) if facts.query else "",
        "H": lambda facts: "HTTP/" + facts.version if facts.version else "-",
        "s": lambda facts: facts.status,
        "B": lambda facts: facts.body_bytes,
        "b": lambda facts: facts.body_bytes or "-",
        "f": lambda facts: safe(facts.fields.get(b"referer", b"")),
        "a": lambda facts: safe(facts.fields.get(b"user-agent", b"")),
        "T": lambda facts: int(facts.seconds),
        "D": lambda facts: int(facts.seconds * 1e6),
        "M": lambda facts: int(facts.seconds * 1e3),
        "L": lambda facts: f"{facts.seconds:.6f}",
        "id": lambda facts: _show_id(facts.request_id) if facts.request_id else "-",
        "X": lambda facts: "X" if facts.aborted else "+" if facts.may_go_on else "-",
        "p": lambda _: f"<{os.getpid()}>",
    }
    assert getters.keys() == ATOMS.keys()  # noqa: S101  # the table and this are one list
    found: dict[str, Any] = dict(getters)
    found["i"] = lambda name: lambda facts: safe(facts.fields.get(name, b""))
    found["o"] = lambda name: lambda facts: _find_sent(facts.head, name, safe)
    found["e"] = lambda name: (
        lambda facts: safe(find_variable(facts, name).encode("latin-1", "backslashreplace"))
    )
    return found


def _find_getter(atom: Atom, getters: dict[str, Any]) -> Getter:
    found: Getter = getters[atom.letter]
    if not atom.name:
        return found
    name = atom.name if atom.letter == "e" else atom.name.encode("ascii")
    made: Getter = getters[atom.letter](name)
    return made


def _find_sent(head: bytes, wanted: bytes, safe: Callable[[bytes], str]) -> str:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == wanted:
            return safe(value.strip())
    return "-"


def _find_user(facts: Facts, safe: Callable[[bytes], str]) -> str:
    said = facts.fields.get(b"authorization")
    if said is None:
        return "-"
    scheme, _, credentials = said.partition(b" ")
    if scheme.lower() != b"basic":
        return "-"
    try:
        user, colon, _ = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except binascii.Error:
        return "-"
    return safe(user) if colon else "-"


def find_variable(facts: Facts, name: str) -> str:
    """What a CGI script would find under this name (RFC 3875 §4.1); else the process's own variable."""
    if name in _CGI:
        return _CGI[name](facts)
    field = name.removeprefix("HTTP_")
    if field != name or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
        wanted = field.replace("_", "-").lower().encode("latin-1", "replace")
        return facts.fields.get(wanted, b"").decode("latin-1")
    return os.environ.get(name, "")


def _show_target(facts: Facts) -> str:
    return (facts.raw_path + b"?" + facts.query if facts.query else facts.raw_path).decode("latin-1")


_CGI: Mapping[str, Callable[[Facts], str]] = {
    "REQUEST_METHOD": lambda facts: facts.method,
    "REQUEST_URI": _show_target,
    "RAW_URI": _show_target,
    "PATH_INFO": lambda facts: facts.raw_path.decode("latin-1"),
    "QUERY_STRING": lambda facts: facts.query.decode("latin-1"),
    "SERVER_PROTOCOL": lambda facts: "HTTP/" + facts.version if facts.version else "",
    "REMOTE_ADDR": lambda facts: facts.ends.client[0] if facts.ends.client else "",
    "REMOTE_PORT": lambda facts: str(facts.ends.client[1]) if facts.ends.client else "",
    "SERVER_NAME": lambda facts: facts.ends.server[0] if facts.ends.server else "",
    "SERVER_PORT": lambda facts: str(facts.ends.server[1] or "") if facts.ends.server else "",
    "wsgi.url_scheme": lambda facts: facts.ends.scheme,
    "REQUEST_SCHEME": lambda facts: facts.ends.scheme,
}
