"""Fields that are not in a response's head: trailers after a chunked body, links in a 103 before it.

Pure. Checked as strictly as the head's: a name is a token, no value carries CR, LF or NUL. What a recipient needs
before the body, or for framing, routing or access, is refused as a trailer (RFC 9110 §6.5.1).
"""

from __future__ import annotations

from collections.abc import Iterable

from prefork.serve.response import render_fields, render_text_fields

NEVER_TRAILERS = frozenset(
    b"transfer-encoding content-length host connection keep-alive te trailer upgrade expect range max-forwards"
    b" cache-control pragma if-match if-none-match if-modified-since if-unmodified-since if-range"
    b" authorization proxy-authenticate proxy-authorization www-authenticate set-cookie cookie"
    b" age date expires location retry-after vary warning content-encoding content-type content-range".split()
)


def render_trailers(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines of a trailer section. Raises ValueError or TypeError, saying which field."""
    lines = list(fields)
    section, _, _ = render_fields(b"\r\n", lines, {})
    for name, _ in lines:
        if name.lower() in NEVER_TRAILERS:
            raise ValueError(f"not allowed in trailers (RFC 9110 §6.5.1): {name!r}")
    return section[2:]


def render_early_hints(links: Iterable[bytes]) -> bytes:
    """A whole 103 (RFC 8297) with one `Link` field each; nothing for none. Raises ValueError or TypeError."""
    fields = [(b"Link", link) for link in links]
    if not fields:
        return b""
    head, _, _ = render_fields(b"HTTP/1.1 103 Early Hints\r\n", fields, {})
    return head + b"\r\n"


def render_text_hints(fields: Iterable[tuple[str, str]]) -> bytes:
    """A whole 103 with any fields, in WSGI's native strings; nothing for none. Raises ValueError or TypeError."""
    lines = list(fields)
    if not lines:
        return b""
    head, _, _ = render_text_fields("103 Early Hints", lines, {})
    return head + b"\r\n"
