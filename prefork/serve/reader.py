"""From the parser's callbacks to a request: what may be asked of us, and what is refused.

httptools (llhttp) does the parsing; this object is what it calls, as rarely as it can. It enforces what llhttp
leaves open: Host, the only transfer coding, the versions, the limits, the form of the target. It decides nothing
about the connection: a request that is acceptable goes to `connection.queue`, one that is not raises `Refusal`.

Bodies are parsed by llhttp alone, also that of a request which asked for an upgrade (see `resume_after_upgrade`).
"""

from __future__ import annotations

import httptools

from prefork.serve.chunks import ChunkWatch
from prefork.serve.exchange import Exchange
from prefork.serve.hosts import is_host
from prefork.serve.refusal import Refusal
from prefork.serve.settings import ServeSettings
from prefork.serve.targets import Target, parse_target
from prefork.serve.vocabulary import LONGEST_CACHED, MOST_CACHED_NAMES, MOST_CACHED_TARGETS, Vocabulary
from prefork.serve.whole_reader import NO_LIMIT, PIECE_BYTES, Feed, Receiver, WholeReader
from prefork.serve.whole_request import LONGEST_LENGTH, Fields

CHUNKED = -1
"""`Exchange.body_length_bytes` of a body that says its length as it goes."""

_LONGEST_REST_OF_LINE = 32  # a method, two spaces and the version
_MOST_EMPTY_BYTES = 64  # before a request line (RFC 9112 §2.2)

_METHODS = {
    name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
}


class RequestReader(WholeReader):
    """One connection's parser and the request it is in the middle of."""

    __slots__ = (
        "_content_length",
        "_empty_bytes",
        "_get_method",
        "_get_version",
        "_headers",
        "_host",
        "_hosts",
        "_most_url_bytes",
        "_noted",
        "_plain_names",
        "_should_keep_alive",
        "_skips_body",
        "_small_fields",
        "_targets",
        "_transfer",
        "_url",
        "_wants_continue",
        "data",
        "feed",
        "head_size_bytes",
        "in_head",
        "parser",
        "refusal",
    )

    def __init__(self, connection: Receiver, vocabulary: Vocabulary, settings: ServeSettings) -> None:
        super().__init__(connection, vocabulary, settings)
        self._plain_names = vocabulary.plain_names
        self._hosts = vocabulary.hosts
        self._targets = vocabulary.targets
        self._most_url_bytes = (settings.limit_request_line_bytes or NO_LIMIT) - _LONGEST_REST_OF_LINE
        self._small_fields = 0 < settings.limit_request_field_size_bytes < PIECE_BYTES - 2
        self.refusal: Refusal | None = None
        self.in_head = False
        """The first byte of a head has come, its last has not."""
        self.head_size_bytes = 0
        self._empty_bytes = 0
        self.data = b""
        """What the parser is being fed: whoever feeds it says so."""
        self._url = b""
        self._headers: Fields = []
        self._host: bytes | None = None
        self._use(httptools.HttpRequestParser(self))
        self._forget_notes()

    def _use(self, parser: httptools.HttpRequestParser) -> None:
        self.parser = parser
        self.feed = parser.feed_data
        """What takes the bytes at the beginning of a request."""
        self._get_method = parser.get_method
        self._get_version = parser.get_http_version
        self._should_keep_alive = parser.should_keep_alive

    def parse_method(self) -> str:
        """The method of the request being read, or read last; any, if there is none."""
        return self._get_method().decode("ascii")

    def tell_partial(self) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
        """The method, the target and the fields of a head that was refused, as far as they came."""
        if not self._url:
            return "", b"", []
        return self._get_method().decode("ascii"), self._url, self._headers

    def close(self) -> None:
        """Let go of the parser, which holds this object by its callbacks, and of the connection, which holds it too."""
        self.exchange = None
        self.in_head = False
        self._attend = None
        del self._connection, self.parser, self.feed
        del self._get_method, self._get_version, self._should_keep_alive

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
            if not value.isdigit() or len(value) > LONGEST_LENGTH:
                self._refuse(400, "Content-Length is not a number")
            self._content_length = int(value)
        elif lower == b"transfer-encoding":
            self._transfer = value if self._transfer is None else self._transfer + b"," + value
        elif lower == b"expect":
            self._wants_continue = value.lower() == b"100-continue"
            if not self._wants_continue:
                self._refuse(417, "Expect is not 100-continue")  # RFC 9110 §10.1.1

    def on_headers_complete(self) -> None:
        self.in_head = False
        url = self._url
        headers = self._headers
        host = self._host
        # Trailers are nobody's fields (RFC 9110 §6.5.1): they are taken into a list of their own.
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
        exchange = self._connection.enqueue()  # nothing can be refused any more
        exchange.block = None
        exchange.target = target
        exchange.method = method
        exchange.headers = headers
        exchange.version = version
        exchange.keep_alive = keep_alive
        exchange.body_complete = False
        if self._noted:
            exchange.keep_alive = keep_alive and not self._skips_body
            exchange.body_length_bytes = self._content_length
            if self._transfer is not None:
                exchange.body_length_bytes = CHUNKED
                self._connection.feed_through(self._watch_chunks(exchange))
            exchange.expects_continue = self._wants_continue and version == "1.1"
        else:
            exchange.body_length_bytes = 0
            exchange.expects_continue = False
        self.exchange = exchange
        if self._attend is not None:
            self._attend(exchange)

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
        if exchange.body_length_bytes == CHUNKED:
            self._check_fields(self._headers)
            self._headers = []  # the next request's start afresh
            self._connection.feed_through(self.feed)
        exchange.body_complete = True
        if exchange.body_length_bytes:
            exchange.end_body()

    def _watch_chunks(self, exchange: Exchange) -> Feed:
        return ChunkWatch(self.feed, exchange, self._headers, self._settings).feed

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
                known = all(coding in {b"chunked", b""} for coding in codings)
                self._refuse(400 if known else 501, "Transfer-Encoding is not one final chunked")

    def _check_host(self, host: bytes | None, version: str) -> None:
        if host is None:
            if version == "1.1":
                self._refuse(400, "no Host field")  # RFC 9112 §3.2
            return
        if not is_host(host):
            self._refuse(400, "Host is not a host")
        hosts = self._vocabulary.hosts
        if len(hosts) < MOST_CACHED_NAMES and len(host) <= LONGEST_CACHED:
            hosts.add(host)

    def _check_limits(self, method: str, url: bytes, headers: Fields) -> None:
        settings = self._settings
        line = settings.limit_request_line_bytes
        if line and len(url) + len(method) + 10 > line:  # two spaces and the version
            self._refuse(414, "the request line is longer than limit-request-line")
        self._check_fields(headers)

    def _check_fields(self, headers: Fields) -> None:
        if len(headers) > self._most_fields:
            self._refuse(431, "more fields than limit-request-fields")
        size = self._settings.limit_request_field_size_bytes
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
        if len(self._headers) > (settings.limit_request_fields or NO_LIMIT):
            self._refuse(431, "more fields than limit-request-fields")
        # llhttp holds a field until it ends, so only the whole can be bounded while it grows.
        size = settings.limit_request_field_size_bytes
        if line and size and self.head_size_bytes > line + max(65536, 4 * size):
            self._refuse(431, "the head is too long")

    def _parse_target(self, method: str, url: bytes, headers: Fields) -> tuple[Target, Fields]:
        try:
            target, host = parse_target(method, url)
        except Refusal as refusal:
            self.refusal = refusal
            raise
        if host is not None:
            return target, [(b"host", host), *(field for field in headers if field[0] != b"host")]
        if len(url) <= LONGEST_CACHED and url != b"*":
            targets = self._vocabulary.targets
            if len(targets) >= MOST_CACHED_TARGETS:
                targets.clear()
            targets[url] = target
        return target, headers

    def check_empty_lines(self, size_bytes: int) -> None:
        """Raise `Refusal` when reads of nothing but line ends come without end; this one had `size_bytes`."""
        if self._empty_after is not self._headers:  # a new list for each request
            # The first such read may be the end of a body whose response is complete already.
            self._empty_after = self._headers
            self._empty_bytes = 0
            return
        self._empty_bytes += size_bytes
        if self._empty_bytes > _MOST_EMPTY_BYTES:
            self._refuse(400, "empty lines without end")

    def resume_after_upgrade(self) -> Feed:
        """Go on with HTTP/1.1 after llhttp stopped at a request to upgrade, which we do not grant.

        llhttp takes the upgrade as granted and skips the request's body; a server that then went on would read the
        body as the next request. A second parser, told the same framing, reads the body as a body; the connection
        closes after such a request, so that parser never meets another. Returns what to feed next.
        """
        if not self._skips_body:
            return self.feed
        self._skips_body = False
        chunked = self._transfer is not None
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % self._content_length
        parser = httptools.HttpRequestParser(_BodyOnly(self))
        parser.feed_data(b"POST / HTTP/1.1\r\nConnection: close\r\n" + framing + b"\r\n\r\n")
        self._use(parser)
        return self._watch_chunks(self.exchange) if chunked and self.exchange else self.feed


class _BodyOnly:
    """The callbacks of a parser whose head was made up."""

    __slots__ = ("on_body", "on_message_complete")

    def __init__(self, reader: RequestReader) -> None:
        self.on_body = reader.on_body
        self.on_message_complete = reader.on_message_complete
