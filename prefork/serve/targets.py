"""What a request asks for: the target of its first line, in each of its forms (RFC 9112 §3.2).

Pure. A target is kept as every interface wants it, so that one which is asked for again is not taken apart again.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from prefork.serve.hosts import is_host
from prefork.serve.refusal import Refusal

Target = tuple[str, str, bytes, bytes]
"""The path percent-decoded as UTF-8 (ASGI) and as latin-1 (WSGI), the raw path, the query string."""

_TARGET = re.compile(rb"[!\"$-~]+")  # visible ASCII but '#': a fragment is never sent (RFC 9112 §3.2)
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)


def parse_target(method: str, url: bytes) -> tuple[Target, bytes | None]:
    """The target, and the authority in it, if there is one: it replaces the Host field, which HTTP/1.0 may lack
    (RFC 9112 §3.2.2). Raises `Refusal`.
    """
    if not _TARGET.fullmatch(url):
        raise Refusal(400, "the target has bytes that a URI has not")
    if url.startswith(b"/"):
        return split_path(url), None
    if url == b"*" and method == "OPTIONS":
        return ("*", "*", b"*", b""), None
    absolute = _ABSOLUTE.fullmatch(url)
    if absolute is None:
        raise Refusal(501 if method == "CONNECT" else 400, "the target has no path")
    host, rest = absolute.groups()
    if not host or not is_host(host):
        raise Refusal(400, "the target's authority is not a host")
    if not rest and method == "OPTIONS":
        rest = b"*"  # RFC 9110 §4.2.3: no path is the path "/" but for OPTIONS
    elif not rest.startswith(b"/"):
        rest = b"/" + rest
    return split_path(rest), host


def split_path(url: bytes) -> Target:
    """A path with its query, which is known to have only a target's bytes."""
    raw_path, _, query = url.partition(b"?")
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    return path.decode("utf-8", "replace"), path.decode("latin-1"), raw_path, query
