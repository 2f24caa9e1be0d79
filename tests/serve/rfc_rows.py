"""RFC 9112 and 9110 as rows: what is accepted and what the app sees, what is refused and with which status.

Each row names its section. A refused one is followed, when it is tried, by a request that must never be parsed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

H = b"Host: test"
POST = b"POST / HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Fields = tuple[tuple[bytes, bytes], ...]


def head(*lines: bytes) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


def get(target: bytes) -> bytes:
    return head(b"GET " + target + b" HTTP/1.1", H)


def field_line(line: bytes) -> bytes:
    return head(b"GET / HTTP/1.1", H, line)


def host(value: bytes) -> bytes:
    return head(b"GET / HTTP/1.1", b"Host: " + value)


def chunks(body: bytes) -> bytes:
    return head(POST, H, CHUNKED) + body


@dataclass(frozen=True)
class Seen:
    """One request, as the app was told of it; `path` is what WSGI has too, once decoded."""

    method: str = "GET"
    raw_path: bytes = b"/"
    path: str = "/"
    query: bytes = b""
    headers: Fields = ((b"host", b"test"),)
    body: bytes = b""
    version: str = "1.1"


@dataclass(frozen=True)
class Accepted:
    """`data` is one request, and the connection goes on after it unless `closes`."""

    section: str
    data: bytes
    seen: Seen = field(default_factory=Seen)
    closes: bool = False


@dataclass(frozen=True)
class Refused:
    """`data` is answered `status`, or `later_status` when its read does not begin with it and hold it whole."""

    section: str
    status: int
    data: bytes
    later_status: int = 0


def with_field(name: bytes, value: bytes) -> Seen:
    return Seen(headers=((b"host", b"test"), (name, value)))


def posted(body: bytes, *fields: tuple[bytes, bytes], method: str = "POST") -> Seen:
    return Seen(method, headers=((b"host", b"test"), *fields), body=body)


def at_host(value: bytes) -> Accepted:
    return Accepted("9110 7.2", host(value), Seen(headers=((b"host", value),)))


def at(raw_path: bytes, path: str, query: bytes = b"") -> Seen:
    return Seen(raw_path=raw_path, path=path, query=query)


def chunked(body: bytes, data: bytes) -> Accepted:
    return Accepted("9112 7.1", chunks(data), posted(body, (b"transfer-encoding", b"chunked")))


OLD = Seen(version="1.0")
OLD_OPTIONS = Seen("OPTIONS", version="1.0")

ACCEPTED: dict[str, Accepted] = {
    "plain": Accepted("9112 2.1", head(b"GET / HTTP/1.1", H)),
    "an empty line before": Accepted("9112 2.2", b"\r\n" + get(b"/")),
    "some empty lines before": Accepted("9112 2.2", b"\r\n\r\n\r\n" + get(b"/")),
    "several spaces": Accepted("9112 3", b"GET  /  HTTP/1.1\r\nHost: test\r\n\r\n"),
    "1.0": Accepted("9112 2.3", head(b"GET / HTTP/1.0", H), OLD, closes=True),
    "a protocol that is like HTTP": Accepted(
        "9112 2.3", head(b"OPTIONS / RTSP/1.0", H), OLD_OPTIONS, closes=True
    ),
    "1.0 without host": Accepted(
        "9112 3.2", head(b"GET / HTTP/1.0"), Seen(headers=(), version="1.0"), closes=True
    ),
    "1.0 kept alive": Accepted(
        "9112 9.3",
        head(b"GET / HTTP/1.0", H, b"Connection: keep-alive"),
        Seen(headers=((b"host", b"test"), (b"connection", b"keep-alive")), version="1.0"),
    ),
    "close": Accepted(
        "9112 9.6", field_line(b"Connection: close"), with_field(b"connection", b"close"), closes=True
    ),
    "close among others": Accepted(
        "9112 9.6",
        field_line(b"Connection: keep-alive, Close"),
        with_field(b"connection", b"keep-alive, Close"),
        closes=True,
    ),
    # Targets.
    "query": Accepted("9112 3.2.1", get(b"/a?b=c&d=%20?e"), at(b"/a", "/a", b"b=c&d=%20?e")),
    "empty query": Accepted("9112 3.2.1", get(b"/?"), at(b"/", "/")),
    "decoded once": Accepted("9112 3.2.1", get(b"/a%2Fb%2525%41"), at(b"/a%2Fb%2525%41", "/a/b%25A")),
    "invalid percent": Accepted("9112 3.2.1", get(b"/%zz%4"), at(b"/%zz%4", "/%zz%4")),
    "encoded nul": Accepted("9112 3.2.1", get(b"/%00"), at(b"/%00", "/\0")),
    "encoded line end": Accepted("9112 3.2.1", get(b"/%0d%0aX:%20y"), at(b"/%0d%0aX:%20y", "/\r\nX: y")),
    "not UTF-8": Accepted("9112 3.2.1", get(b"/%ff%c3%a9"), at(b"/%ff%c3%a9", "/\ufffdé")),
    "double slash": Accepted("9112 3.2.1", get(b"//evil/a"), at(b"//evil/a", "//evil/a")),
    "dot segments": Accepted("9112 3.2.1", get(b"/a/../b/./%2e%2e"), at(b"/a/../b/./%2e%2e", "/a/../b/./..")),
    "what browsers leave raw": Accepted("9112 3.2.1", get(b'/"<>\\^`{|}'), at(b'/"<>\\^`{|}', '/"<>\\^`{|}')),
    "semicolon": Accepted("9112 3.2.1", get(b"/a;b=c"), at(b"/a;b=c", "/a;b=c")),
    "absolute": Accepted(
        "9112 3.2.2",
        head(b"GET http://other:81/p?q HTTP/1.1", H),
        Seen(raw_path=b"/p", path="/p", query=b"q", headers=((b"host", b"other:81"),)),
    ),
    "absolute without path": Accepted(
        "9112 3.2.2",
        head(b"GET HTTPS://other?q HTTP/1.1", H),
        Seen(query=b"q", headers=((b"host", b"other"),)),
    ),
    "absolute in 1.0 without host": Accepted(
        "9112 3.2.2",
        head(b"GET http://other/ HTTP/1.0"),
        Seen(headers=((b"host", b"other"),), version="1.0"),
        closes=True,
    ),
    "star": Accepted("9112 3.2.4", head(b"OPTIONS * HTTP/1.1", H), Seen("OPTIONS", b"*", "*")),
    "absolute star": Accepted(
        "9110 4.2.3",
        head(b"OPTIONS http://other HTTP/1.1", H),
        Seen("OPTIONS", b"*", "*", headers=((b"host", b"other"),)),
    ),
    "options of a path": Accepted(
        "9110 9.3.7", head(b"OPTIONS /a HTTP/1.1", H), Seen("OPTIONS", b"/a", "/a")
    ),
    # Hosts.
    "empty host": at_host(b""),
    "host and port": at_host(b"a.example:8080"),
    "empty port": at_host(b"a:"),
    "trailing dot": at_host(b"a.example."),
    "underscore": at_host(b"my_service"),
    "IPv4": at_host(b"127.0.0.1"),
    "IPv6": at_host(b"[2001:db8::1]:80"),
    "IPv6 with IPv4": at_host(b"[::ffff:1.2.3.4]"),
    "IP of the future": at_host(b"[v1.fe80::a+en1]"),
    "encoded name": at_host(b"%C3%A9.example"),
    "no space before": Accepted("9112 5.1", head(b"GET / HTTP/1.1", b"Host:test")),
    "white space around": Accepted("9112 5.1", head(b"GET / HTTP/1.1", b"Host: \t test \t ")),
    "any case of the name": Accepted("9110 5.1", head(b"GET / HTTP/1.1", b"hOsT: test")),
    # Fields.
    "empty value": Accepted("9110 5.5", field_line(b"X:"), with_field(b"x", b"")),
    "empty value and spaces": Accepted("9110 5.5", field_line(b"X: \t "), with_field(b"x", b"")),
    "tab inside": Accepted("9110 5.5", field_line(b"X: a\tb"), with_field(b"x", b"a\tb")),
    "obs-text": Accepted(
        "9110 5.5", field_line(b"X: \x80\xff\xc3\xa9"), with_field(b"x", b"\x80\xff\xc3\xa9")
    ),
    "every byte of a token": Accepted(
        "9110 5.6.2", field_line(TOKEN + b": a"), with_field(TOKEN.lower(), b"a")
    ),
    "repeated field": Accepted(
        "9110 5.3",
        head(b"GET / HTTP/1.1", H, b"X: a", b"x: b"),
        Seen(headers=((b"host", b"test"), (b"x", b"a"), (b"x", b"b"))),
    ),
    # Bodies.
    "length": Accepted(
        "9112 6.2", head(POST, H, b"Content-Length: 3") + b"abc", posted(b"abc", (b"content-length", b"3"))
    ),
    "length of a GET": Accepted(
        "9110 9.3.1",
        field_line(b"Content-Length: 3") + b"abc",
        posted(b"abc", (b"content-length", b"3"), method="GET"),
    ),
    "length with zeros before": Accepted(
        "9110 8.6",
        head(POST, H, b"Content-Length: 003") + b"abc",
        posted(b"abc", (b"content-length", b"003")),
    ),
    "length of nothing": Accepted(
        "9110 8.6", head(POST, H, b"Content-Length: 0"), posted(b"", (b"content-length", b"0"))
    ),
    "no length": Accepted("9112 6.3", head(POST, H), posted(b"")),
    "chunked": chunked(b"hello world", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
    "chunked of nothing": chunked(b"", b"0\r\n\r\n"),
    "any case of a size": chunked(b"0123456789", b"A\r\n0123456789\r\n000\r\n\r\n"),
    "zeros before a size": chunked(b"abc", b"0003\r\nabc\r\n0\r\n\r\n"),
    "extension": chunked(b"abc", b'3;a;b=c;d="e f"\r\nabc\r\n0;last\r\n\r\n'),
    "line ends in the data": chunked(b"\r\n0\r\n\r\n", b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
    "trailers are not headers": chunked(
        b"abc",
        b"3\r\nabc\r\n0\r\nX-User: root\r\nHost: evil\r\nContent-Type: evil\r\nExpect: 100-continue\r\n\r\n",
    ),
    "any case of chunked": Accepted(
        "9112 7",
        head(POST, H, b"Transfer-Encoding: \tcHuNkEd") + b"3\r\nabc\r\n0\r\n\r\n",
        posted(b"abc", (b"transfer-encoding", b"cHuNkEd")),
    ),
    "expectation in 1.0": Accepted(
        "9110 10.1.1",
        head(b"GET / HTTP/1.0", H, b"Expect: 100-continue"),
        Seen(headers=((b"host", b"test"), (b"expect", b"100-continue")), version="1.0"),
        closes=True,
    ),
    **{
        f"method {method}": Accepted("9110 9.1", head(method.encode() + b" / HTTP/1.1", H), Seen(method))
        for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "MKCOL", "REPORT", "M-SEARCH", "PURGE")
    },
}

REFUSED: dict[str, Refused] = {
    # RFC 9112 §2: the message.
    "bare line feeds": Refused("9112 2.2", 400, b"GET / HTTP/1.1\nHost: test\n\n"),
    "bare line feed after the line": Refused("9112 2.2", 400, b"GET / HTTP/1.1\nHost: test\r\n\r\n"),
    "bare line feed in a field": Refused("9112 2.2", 400, b"GET / HTTP/1.1\r\nHost: test\r\nX: y\n\r\n"),
    "bare line feed at the end": Refused("9112 2.2", 400, b"GET / HTTP/1.1\r\nHost: test\r\n\nX: y\r\n\r\n"),
    "bare carriage return": Refused("9112 2.2", 400, b"GET / HTTP/1.1\r\nHost: te\rst\r\n\r\n"),
    "carriage return twice": Refused("9112 2.2", 400, b"GET / HTTP/1.1\r\nHost: test\r\r\n\r\n"),
    "carriage return at the end": Refused("9112 2.2", 400, b"GET / HTTP/1.1\r\nHost: test\r\n\r\r\n"),
    "space before the line": Refused("9112 2.2", 400, b" GET / HTTP/1.1\r\nHost: test\r\n\r\n"),
    "space before the first field": Refused("9112 2.2", 400, head(b"GET / HTTP/1.1", b" X: a", H)),
    "not http": Refused("9112 2.2", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "preface of HTTP/2": Refused("9113 3.4", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "small http": Refused("9112 2.3", 400, head(b"GET / http/1.1", H)),
    "no http": Refused("9112 2.3", 400, head(b"GET / HTCPCP/1.1", H)),
    "version 1.2": Refused("9112 2.3", 400, head(b"GET / HTTP/1.2", H)),
    "version 1.10": Refused("9112 2.3", 400, head(b"GET / HTTP/1.10", H)),
    "version 1": Refused("9112 2.3", 400, head(b"GET / HTTP/1", H)),
    "version 2": Refused("9112 2.3", 505, head(b"GET / HTTP/2.0", H)),
    "version 3": Refused("9112 2.3", 400, head(b"GET / HTTP/3.0", H)),
    "version 0.9": Refused("9112 2.3", 505, b"GET /\r\n\r\n"),
    # §3: the request line.
    "tabs": Refused("9112 3", 400, b"GET\t/\tHTTP/1.1\r\nHost: test\r\n\r\n"),
    "tab after the target": Refused("9112 3", 400, b"GET /\tHTTP/1.1\r\nHost: test\r\n\r\n"),
    "space after the version": Refused("9112 3", 400, b"GET / HTTP/1.1 \r\nHost: test\r\n\r\n"),
    "space in the target": Refused("9112 3.2", 400, get(b"/a b")),
    "unknown method": Refused("9110 9.1", 501, head(b"NOPE / HTTP/1.1", H), 400),
    "longer than a method": Refused("9110 9.1", 501, head(b"GETX / HTTP/1.1", H), 400),
    "small method": Refused("9110 9.1", 501, head(b"get / HTTP/1.1", H), 400),
    "no method": Refused("9112 3.1", 400, head(b"/ HTTP/1.1", H)),
    "method is no token": Refused("9112 3.1", 400, head(b"G(T / HTTP/1.1", H)),
    "unknown expectation": Refused("9110 10.1.1", 417, field_line(b"Expect: a-pony")),
    "two expectations": Refused("9110 10.1.1", 417, field_line(b"Expect: 100-continue, a-pony")),
    "connect": Refused("9110 9.3.6", 501, head(b"CONNECT a:443 HTTP/1.1", H)),
    "no target": Refused("9112 3.2", 400, head(b"GET HTTP/1.1", H)),
    "fragment": Refused("9112 3.2", 400, get(b"/a#b")),
    "raw bytes in the target": Refused("9112 3.2", 400, get(b"/\xc3\xa9")),
    "nul in the target": Refused("9112 3.2", 400, get(b"/\0")),
    "delete in the target": Refused("9112 3.2", 400, get(b"/\x7f")),
    "form feed in the target": Refused("9112 3.2", 400, get(b"/a\x0cb")),
    "no slash": Refused("9112 3.2", 400, get(b"nothing")),
    "only a query": Refused("9112 3.2", 400, get(b"?a")),
    "star for GET": Refused("9112 3.2.4", 400, get(b"*")),
    "star and more": Refused("9112 3.2.4", 400, head(b"OPTIONS *a HTTP/1.1", H)),
    "authority for GET": Refused("9112 3.2.3", 400, get(b"a:80")),
    "another scheme": Refused("9112 3.2.2", 400, get(b"ftp://a/")),
    "userinfo": Refused("9110 4.2.4", 400, get(b"http://a@b/")),
    "no authority": Refused("9110 4.2.1", 400, get(b"http:///a")),
    "bad authority": Refused("9112 3.2.2", 400, get(b"http://[::g]/")),
    "absolute, no host": Refused("9112 3.2", 400, head(b"GET http://a/ HTTP/1.1")),
    "absolute, two hosts": Refused("9112 3.2", 400, head(b"GET http://a/ HTTP/1.1", H, H)),
    "no host": Refused("9112 3.2", 400, head(b"GET / HTTP/1.1")),
    "two hosts": Refused("9112 3.2", 400, head(b"GET / HTTP/1.1", H, H)),
    "two hosts in 1.0": Refused("9112 3.2", 400, head(b"GET / HTTP/1.0", H, b"host: other")),
    "bad host in 1.0": Refused("9112 3.2", 400, head(b"GET / HTTP/1.0", b"Host: a b")),
    **{
        f"host {value!r}": Refused("9110 7.2", 400, host(value))
        for value in (
            *(b"a b", b"a/b", b"u@a", b"a:b", b"a:1:2"),
            *(
                b"a\tb",
                b"\xc3\xa9",
                b"a?b",
                b"a#b",
                b"http://a",
                b"%zz",
                b"%4",
                b"a%",
                b"a\\b",
                b"<a>",
                b'"a"',
            ),
            *(
                b"::1",
                b"[::1",
                b"[]",
                b"[:::]",
                b"[1.2.3.4]",
                b"[::1]a",
                b"[fe80::1%25eth0]",
                b"[v.a]",
                b"[vg.a]",
            ),
        )
    },
    # §5: the fields.
    "nul in a value": Refused("9110 5.5", 400, field_line(b"X: a\0b")),
    "control in a value": Refused("9110 5.5", 400, field_line(b"X: a\x01b")),
    "space before the colon": Refused("9112 5.1", 400, field_line(b"X : a")),
    "tab before the colon": Refused("9112 5.1", 400, field_line(b"X\t: a")),
    "space in a name": Refused("9112 5.1", 400, field_line(b"X Y: a")),
    "folded line": Refused("9112 5.2", 400, head(b"GET / HTTP/1.1", H, b"X: a", b" b")),
    "line folded by a tab": Refused("9112 5.2", 400, head(b"GET / HTTP/1.1", H, b"X: a", b"\tb")),
    "no name": Refused("9112 5", 400, field_line(b": a")),
    "no colon": Refused("9112 5", 400, field_line(b"nonsense")),
    # §6: the length of the body.
    "length and coding": Refused(
        "9112 6.1", 400, head(POST, H, b"Content-Length: 3", CHUNKED) + b"0\r\n\r\n"
    ),
    "coding and length": Refused(
        "9112 6.1", 400, head(POST, H, CHUNKED, b"Content-Length: 3") + b"0\r\n\r\n"
    ),
    "coding in 1.0": Refused("9112 6.1", 400, head(b"POST / HTTP/1.0", H, CHUNKED) + b"0\r\n\r\n"),
    **{
        f"length {value!r}": Refused("9110 8.6", 400, head(POST, H, b"Content-Length: " + value) + b"abc")
        for value in (
            *(
                b"3, 3",
                b"3,3",
                b"3\r\nContent-Length: 3",
                b"3\r\nContent-Length: 4",
                b"+3",
                b"-3",
                b"0x3",
                b"",
            ),
            *(
                b"3 3",
                b"3;a",
                b"3.0",
                b"1_0",
                b"3e0",
                b"\xb2",
                b"\xd9\xa3",
                b"18446744073709551616",
                b"9" * 30,
            ),
            *(b"0" * 5000 + b"3", b'"3"'),
        )
    },
    **{
        f"coding {value!r}": Refused(
            "9112 6.1", status, head(POST, H, b"Transfer-Encoding: " + value) + b"0\r\n\r\n"
        )
        for status, value in (
            *((501, b"gzip"), (501, b"gzip, chunked"), (501, b"gzip\r\n" + CHUNKED), (501, b"identity")),
            *((501, b"chunked;q=1"), (501, b'"chunked"'), (501, b"xchunked"), (501, b"chunked x")),
            *(
                (400, b"chunked, gzip"),
                (400, b"chunked, chunked"),
                (400, b"chunked\r\n" + CHUNKED),
                (400, b"chunked,"),
            ),
            *(
                (400, b",chunked"),
                (400, b" , chunked"),
                (400, b"chunked , "),
                (400, b""),
                (400, b"\x0bchunked"),
            ),
            *((400, b"chunked\0"), (400, b"chunked\r\n ")),
        )
    },
}

BROKEN_BODIES = {
    "size": b"xyz\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "empty line before a size": b"\r\n3\r\nabc\r\n0\r\n\r\n",
    "signed size": b"+3\r\nabc\r\n0\r\n\r\n",
    "negative size": b"-3\r\nabc\r\n0\r\n\r\n",
    "hex prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "size past 2^64": b"10000000000000000\r\n",
    "huge size": b"fffffffffffffffff\r\n",
    "space before size": b" 3\r\nabc\r\n0\r\n\r\n",
    "space after size": b"3 \r\nabc\r\n0\r\n\r\n",
    "tab after size": b"3\t\r\nabc\r\n0\r\n\r\n",
    "bare line feed after size": b"3\nabc\r\n0\r\n\r\n",
    "bare carriage return after size": b"3\rabc\r\n0\r\n\r\n",
    "carriage return twice after size": b"3\r\r\nabc\r\n0\r\n\r\n",
    "bare line feed after data": b"3\r\nabc\n0\r\n\r\n",
    "bare carriage return after data": b"3\r\nabc\r0\r\n\r\n",
    "nothing after data": b"3\r\nabc0\r\n\r\n",
    "too long": b"3\r\nabcd\r\n0\r\n\r\n",
    "too short": b"4\r\nabc\r\n0\r\n\r\n",
    "comma after size": b"3,a\r\nabc\r\n0\r\n\r\n",
    "empty extension": b"3;\r\nabc\r\n0\r\n\r\n",
    "line feed in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "carriage return in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "line feed in a quoted extension": b'3;a="\n"\r\nabc\r\n0\r\n\r\n',
    "escaped line feed in an extension": b'3;a="\\\n"\r\nabc\r\n0\r\n\r\n',
    "open quote": b'3;a="b\r\nabc\r\n0\r\n\r\n',
    "nul in an extension": b"3;a\0\r\nabc\r\n0\r\n\r\n",
    "bare line feed after the last": b"3\r\nabc\r\n0\n\r\n",
    "bare line feed at the end": b"3\r\nabc\r\n0\r\n\n",
    "bare carriage return at the end": b"3\r\nabc\r\n0\r\n\rX",
    "space in a trailer's name": b"3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "folded trailer": b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
    "control in a trailer": b"3\r\nabc\r\n0\r\nX: \x01\r\n\r\n",
    "length in a trailer": b"3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n",
    "coding in a trailer": b"3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n",
    "no colon in a trailer": b"3\r\nabc\r\n0\r\nX\r\n\r\n",
}
