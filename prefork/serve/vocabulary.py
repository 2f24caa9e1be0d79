"""What every connection of one service may learn once: field names, hosts, targets. Bounded, whatever clients send."""

from __future__ import annotations

from prefork.serve.targets import Target

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
MOST_CACHED_LINES = 512
LONGEST_CACHED = 256


class Vocabulary:
    """What every connection of one service may learn once: field names, hosts, targets. Bounded."""

    __slots__ = ("hosts", "lines", "noted", "noted_lines", "plain_names", "requests", "targets")

    def __init__(self, noted: frozenset[bytes] = frozenset()) -> None:
        self.noted = OURS | noted
        """The fields that the reader must look at itself."""
        self.plain_names: dict[bytes, bytes | None] = {}
        """From a name as sent to its lower-case form; None for one that the reader must look at itself."""
        self.hosts: set[bytes | None] = set()
        self.targets: dict[bytes, Target] = {}
        self.requests: dict[bytes, tuple[str, Target]] = {}
        """From a request line to its method and target; of those that `whole_request` reads."""
        self.lines: dict[bytes, tuple[bytes, bytes]] = {}
        """From a field line to its name in lower case and its value; the same."""
        self.noted_lines: dict[bytes, tuple[tuple[bytes, bytes], int]] = {}
        """The same of fields that say something to us, with what that is."""
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
