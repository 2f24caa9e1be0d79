"""What every connection of one service may learn once: field names, hosts, targets. Bounded, whatever clients send."""

from __future__ import annotations

# The fields that say something to us; every other one is only passed on.
OURS = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"))
_COMMON = (
    b"accept accept-encoding accept-language authorization cache-control content-type cookie date dnt from"
    b" if-match if-modified-since if-none-match if-range if-unmodified-since origin pragma priority range referer"
    b" sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user"
    b" te traceparent tracestate upgrade-insecure-requests user-agent via x-forwarded-for x-forwarded-host"
    b" x-forwarded-port x-forwarded-proto x-real-ip x-request-id x-requested-with"
)
MOST_CACHED_NAMES = 1024
MOST_CACHED_TARGETS = 1024
LONGEST_CACHED = 256

Target = tuple[str, str, bytes, bytes]
"""The path percent-decoded as UTF-8 (ASGI) and as latin-1 (WSGI), the raw path, the query string."""


class Vocabulary:
    """What every connection of one service may learn once: field names, hosts, targets. Bounded."""

    __slots__ = ("hosts", "noted", "plain_names", "targets")

    def __init__(self, noted: frozenset[bytes] = frozenset()) -> None:
        self.noted = OURS | noted
        """The fields that the reader must look at itself."""
        self.plain_names: dict[bytes, bytes | None] = {}
        """From a name as sent to its lower-case form; None for one that the reader must look at itself."""
        self.hosts: set[bytes | None] = set()
        self.targets: dict[bytes, Target] = {}
        for lower in (*_COMMON.split(), *self.noted):
            for name in (lower, b"-".join(word.capitalize() for word in lower.split(b"-"))):
                self.plain_names[name] = None if lower in self.noted else lower

    def learn_name(self, name: bytes) -> bytes | None:
        """What `plain_names` says of a field name, also if it is full; llhttp has checked that it is a token."""
        lower = name.lower()
        known = None if lower in self.noted else lower
        if len(self.plain_names) < MOST_CACHED_NAMES and len(name) <= LONGEST_CACHED:
            self.plain_names[name] = known
        return known
