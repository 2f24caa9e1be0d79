"""From the parser's callbacks to a request: what may be asked of us, and what is refused.

httptools (llhttp) does the parsing; this object is what it calls, as rarely as it can. It enforces what llhttp
leaves open: Host, the only transfer coding, the versions, the limits, the form of the target. It decides nothing
about the connection: a request that is acceptable goes to `connection.queue`, one that is not raises `Refusal`.

Bodies are parsed by llhttp alone, also that of a request which asked for an upgrade (see `resume_after_upgrade`).
"""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import unquote_to_bytes

import httptools

from prefork.serve.exchange import Exchange
from prefork.serve.settings import ServeSettings

PIECE_BYTES = 8192
"""The connection feeds the parser at most so much of a head at once."""
CHUNKED = -1
"""`Exchange.body_length_bytes` of a body that says its length as it goes."""

_NO_LIMIT = 1 << 62
_LONGEST_REST_OF_LINE = 32  # a method, two spaces and the version

# The fields that say something to us; every other one is only passed on.
_OURS = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"))
_COMMON = (
    b"accept accept-encoding accept-language authorization cache-control content-type cookie date dnt from"
    b" if-match if-modified-since if-none-match if-range if-unmodified-since origin pragma priority range referer"
    b" sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user"
    b" te traceparent tracestate upgrade-insecure-requests user-agent via x-forwarded-for x-forwarded-host"
    b" x-forwarded-port x-forwarded-proto x-real-ip x-request-id x-requested-with"
)
_MOST_CACHED_NAMES = 1024
_MOST_CACHED_TARGETS = 1024
_LONGEST_CACHED = 256

_TARGET = re.compile(rb"[!\"$-~]+")  # visible ASCII but '#': a fragment is never sent (RFC 9112 §3.2)
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")  # RFC 3986 §3.2.2

_METHODS = {
    name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
}

Fields = list[tuple[bytes, bytes]]
Target = tuple[str, str, bytes, bytes]
"""The path percent-decoded as UTF-8 (ASGI) and as latin-1 (WSGI), the raw path, the query string."""


class Refusal(Exception):  # noqa: N818 - a verdict about the client, not an error of ours
    """The request will not be served. `status` is the answer; the connection closes after it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Vocabulary:
    """What every connection of one service may learn once: field names, hosts, targets. Bounded."""

    __slots__ = ("hosts", "noted", "plain_names", "targets")

    def __init__(self, noted: frozenset[bytes] = frozenset()) -> None:
        self.noted = _OURS | noted
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
        if len(self.plain_names) < _MOST_CACHED_NAMES and len(name) <= _LONGEST_CACHED:
            self.plain_names[name] = known
        return known


class Receiver(Protocol):
    """What the reader needs of its connection."""

    def admit(self) -> Exchange:
        """An exchange for a request whose head is complete; the reader fills it in."""


class RequestReader:
    """One connection's parser and the request it is in the middle of."""

    __slots__ = (
        "_connection",
        "_content_length",
        "_get_method",
        "_get_version",
        "_headers",
        "_host",
        "_hosts",
        "_most_fields",
        "_most_url_bytes",
        "_noted",
        "_plain_names",
        "_settings",
        "_should_keep_alive",
        "_skips_body",
        "_small_fields",
        "_targets",
        "_transfer",
        "_url",
        "_vocabulary",
        "_wants_continue",
        "data",
        "exchange",
        "head_size_bytes",
        "in_head",
        "parser",
        "refusal",
    )

    def __init__(self, connection: Receiver, vocabulary: Vocabulary, settings: ServeSettings) -> None:
        self._connection = connection
        self._vocabulary = vocabulary
        self._settings = settings
        self._plain_names = vocabulary.plain_names
        self._hosts = vocabulary.hosts
        self._targets = vocabulary.targets
        self._most_url_bytes = (settings.limit_request_line_bytes or _NO_LIMIT) - _LONGEST_REST_OF_LINE
        self._most_fields = settings.limit_request_fields or _NO_LIMIT
        self._small_fields = 0 < settings.limit_request_field_size_bytes < PIECE_BYTES - 2
        self.exchange: Exchange | None = None
        """The request whose body is being read, or was read last."""
        self.refusal: Refusal | None = None
        self.in_head = False
        """The first byte of a head has come, its last has not."""
        self.head_size_bytes = 0
        self.data = b""
        """What the parser is being fed: whoever feeds it says so."""
        self._url = b""
        self._headers: Fields = []
        self._host: bytes | None = None
        self._use(httptools.HttpRequestParser(self))
        self._forget_notes()

    def _use(self, parser: httptools.HttpRequestParser) -> None:
        self.parser = parser
        self._get_method = parser.get_method
        self._get_version = parser.get_http_version
        self._should_keep_alive = parser.should_keep_alive

    def tell_partial(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        """The method, the target and the fields of a head that was refused, as far as they came."""
        if not self._url:
            return "", b"", []
        return self._get_method().decode("ascii"), self._url, self._headers

    def close(self) -> None:
        """Let go of the parser, which holds this object by its callbacks."""
        self.exchange = None
        self.in_head = False
        del self.parser, self._get_method, self._get_version, self._should_keep_alive

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        self.in_head = True
        self.head_size_bytes = 0
        if self._noted:
            self._forget_notes()

    def _forget_notes(self) -> None:
        self._noted = False
        self._content_length = 0
        self._transfer: bytes | None = None
        self._wants_continue = False
        self._skips_body = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        try:
            lower = self._plain_names[name]  # the subscript and the handler cost less than `get`
        except KeyError:
            lower = self._vocabulary.learn_name(name)
        if lower is None:
            self._take_ours(name, value)
        else:
            self._headers.append((lower, value))

    def _take_ours(self, name: bytes, value: bytes) -> None:
        value = value.rstrip(b" \t")
        lower = name.lower()
        self._headers.append((lower, value))
        if lower == b"host" and self._host is None and self.in_head:
            self._host = value
        elif self.in_head:
            self._note(lower, value)

    def _note(self, lower: bytes, value: bytes) -> None:
        if lower == b"host":
            if self._host is not None:
                self._refuse(400, "two Host fields")
            self._host = value
            return
        self._noted = True
        if lower == b"content-length":
            if not value.isdigit():
                self._refuse(400, "Content-Length is not a number")
            self._content_length = int(value)
        elif lower == b"transfer-encoding":
            self._transfer = value if self._transfer is None else self._transfer + b"," + value
        elif lower == b"expect":
            self._wants_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        self.in_head = False
        url = self._url
        headers = self._headers
        host = self._host
        # Those of the next request start afresh, also the trailers of this one.
        self._url = b""
        self._headers = []
        self._host = None
        token = self._get_method()
        method = _METHODS.get(token) or token.decode("ascii")
        keep_alive = self._should_keep_alive()
        version = "1.1"
        # Only HTTP/1.1 keeps alive unasked, so nothing noted and kept alive is 1.1: no need to ask which.
        if self._noted or not keep_alive:
            version = self._get_version()
            self._check_framing(version)
            self._skips_body = self.parser.should_upgrade() and (
                self._transfer is not None or self._content_length > 0
            )
        if host not in self._hosts:
            self._check_host(host, version)
        # llhttp leaves the white space after a value (RFC 9110 §5.5). To look for it once costs less than 20 times,
        # and `rfind` less than `in`, which takes bytes for a number first, and fails.
        data = self.data
        if data.rfind(b" \r") >= 0 or 9 in data or self.head_size_bytes:
            headers = [(name, value.rstrip(b" \t")) for name, value in headers]
        # A head that came in one piece has no field longer than the piece: usually that proves enough.
        if (
            len(url) > self._most_url_bytes
            or len(headers) > self._most_fields
            or self._small_fields
            or self.head_size_bytes
        ):
            self._check_limits(method, url, headers)
        target = self._targets.get(url)
        if target is None:
            target, headers = self._parse_target(method, url, headers)
        exchange = self._connection.admit()  # nothing can be refused any more
        exchange.target = target
        exchange.method = method
        exchange.headers = headers
        exchange.version = version
        exchange.keep_alive = keep_alive
        exchange.body_complete = False
        if self._noted:
            exchange.keep_alive = keep_alive and not self._skips_body
            exchange.body_length_bytes = CHUNKED if self._transfer is not None else self._content_length
            exchange.expects_continue = self._wants_continue and version == "1.1"
        else:
            exchange.body_length_bytes = 0
            exchange.expects_continue = False
        self.exchange = exchange

    def on_body(self, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None  # a body follows a head  # noqa: S101
        exchange.body_read_bytes += len(data)
        limit = self._settings.limit_request_body_bytes
        if limit and exchange.body_read_bytes > limit:
            self._refuse(413, "the body is longer than limit-request-body")
        exchange.take_body(data)

    def on_message_complete(self) -> None:
        if self._skips_body:
            return  # llhttp skips the body of an upgrade; resume_after_upgrade reads it
        exchange = self.exchange
        assert exchange is not None  # a message ends after its head  # noqa: S101
        exchange.body_complete = True
        if exchange.body_length_bytes:
            exchange.end_body()

    # What llhttp leaves to us.

    def _refuse(self, status: int, reason: str) -> None:
        # Raising in a callback puts llhttp into its error state: nothing after this byte is parsed.
        self.refusal = Refusal(status, reason)
        raise self.refusal

    def _check_framing(self, version: str) -> None:
        if version not in ("1.1", "1.0"):
            self._refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        limit = self._settings.limit_request_body_bytes
        if limit and self._content_length > limit:
            self._refuse(413, "Content-Length is more than limit-request-body")
        if self._transfer is not None:
            if version == "1.0":
                self._refuse(400, "Transfer-Encoding in HTTP/1.0")  # RFC 9112 §6.1
            codings = [coding.strip(b" \t").lower() for coding in self._transfer.split(b",")]
            if codings != [b"chunked"]:
                known = all(coding == b"chunked" for coding in codings)
                self._refuse(400 if known else 501, "Transfer-Encoding is not one final chunked")

    def _check_host(self, host: bytes | None, version: str) -> None:
        if host is None:
            if version == "1.1":
                self._refuse(400, "no Host field")  # RFC 9112 §3.2
            return
        if not _HOST.fullmatch(host):
            self._refuse(400, "Host is not a host")
        hosts = self._vocabulary.hosts
        if len(hosts) < _MOST_CACHED_NAMES and len(host) <= _LONGEST_CACHED:
            hosts.add(host)

    def _check_limits(self, method: str, url: bytes, headers: Fields) -> None:
        settings = self._settings
        line = settings.limit_request_line_bytes
        if line and len(url) + len(method) + 10 > line:  # two spaces and the version
            self._refuse(414, "the request line is longer than limit-request-line")
        fields = settings.limit_request_fields
        if fields and len(headers) > fields:
            self._refuse(431, "more fields than limit-request-fields")
        size = settings.limit_request_field_size_bytes
        if size:
            for name, value in headers:
                if len(name) + len(value) + 2 > size:
                    self._refuse(431, "a field is longer than limit-request-field-size")

    def check_partial_head(self, grown_bytes: int) -> None:
        """Raise `Refusal` when a head that is not complete is already too long; `grown_bytes` were fed just now."""
        settings = self._settings
        self.head_size_bytes += grown_bytes
        line = settings.limit_request_line_bytes
        if line and len(self._url) > line:
            self._refuse(414, "the request line is longer than limit-request-line")
        if len(self._headers) > (settings.limit_request_fields or _NO_LIMIT):
            self._refuse(431, "more fields than limit-request-fields")
        # llhttp holds a field until it ends, so only the whole can be bounded while it grows.
        size = settings.limit_request_field_size_bytes
        if line and size and self.head_size_bytes > line + max(65536, 4 * size):
            self._refuse(431, "the head is too long")

    def _parse_target(self, method: str, url: bytes, headers: Fields) -> tuple[Target, Fields]:
        if not _TARGET.fullmatch(url):
            self._refuse(400, "the target has bytes that a URI has not")
        rest = url
        if not url.startswith(b"/"):
            if url == b"*" and method == "OPTIONS":
                return ("*", "*", b"*", b""), headers
            absolute = _ABSOLUTE.fullmatch(url)
            if absolute is None:
                self._refuse(501 if method == "CONNECT" else 400, "the target has no path")
                raise AssertionError  # _refuse always raises
            rest, headers = self._take_authority(absolute, headers)
        raw_path, _, query = rest.partition(b"?")
        path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
        target = path.decode("utf-8", "replace"), path.decode("latin-1"), raw_path, query
        targets = self._vocabulary.targets
        if rest is url and len(url) <= _LONGEST_CACHED:
            if len(targets) >= _MOST_CACHED_TARGETS:
                targets.clear()
            targets[url] = target
        return target, headers

    def _take_authority(self, absolute: re.Match[bytes], headers: Fields) -> tuple[bytes, Fields]:
        # The target's authority replaces the Host field (RFC 9112 §3.2.2).
        host, rest = absolute.groups()
        if not host or not _HOST.fullmatch(host):
            self._refuse(400, "the target's authority is not a host")
        headers = [(name, host if name == b"host" else value) for name, value in headers]
        return (rest if rest.startswith(b"/") else b"/" + rest), headers

    def resume_after_upgrade(self) -> None:
        """Go on with HTTP/1.1 after llhttp stopped at a request to upgrade, which we do not grant.

        llhttp takes the upgrade as granted and skips the request's body; a server that then went on would read the
        body as the next request. A second parser, told the same framing, reads the body as a body; the connection
        closes after such a request, so that parser never meets another.
        """
        if not self._skips_body:
            return
        self._skips_body = False
        chunked = self._transfer is not None
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % self._content_length
        parser = httptools.HttpRequestParser(_BodyOnly(self))
        parser.feed_data(b"POST / HTTP/1.1\r\nConnection: close\r\n" + framing + b"\r\n\r\n")
        self._use(parser)


class _BodyOnly:
    """The callbacks of a parser whose head was made up."""

    __slots__ = ("on_body", "on_message_complete")

    def __init__(self, reader: RequestReader) -> None:
        self.on_body = reader.on_body
        self.on_message_complete = reader.on_message_complete
