"""Well-formed requests of every kind, and what is done to them. Everything follows from a seed."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

SMUGGLED = b"GET /smuggled?n=666 HTTP/1.1\r\nHost: evil\r\n\r\n"


def _request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line, b"Host: fuzz.example", *fields)) + b"\r\n\r\n" + body


def _chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n" + trailers + b"\r\n"


CODED = b"Transfer-Encoding: chunked"
CORPUS = (
    _request(b"GET /?n=1 HTTP/1.1"),
    _request(
        b"GET /a%20b/%C3%A9?n=2&x=%00 HTTP/1.1", b"User-Agent: fuzz/1.0", b"Accept: */*", b"Cookie: a=b; c=d"
    ),
    _request(b"HEAD /?n=3 HTTP/1.1"),
    _request(b"GET /?n=4 HTTP/1.0"),
    _request(b"GET /?n=5 HTTP/1.0", b"Connection: keep-alive"),
    _request(b"GET /?n=6 HTTP/1.1", b"Connection: close"),
    _request(b"OPTIONS * HTTP/1.1"),
    _request(b"GET http://other.example:81/abs?n=7 HTTP/1.1"),
    _request(b"CONNECT other.example:443 HTTP/1.1"),
    _request(b"PROPFIND /dav?n=8 HTTP/1.1", b"Depth: 1", b"Content-Length: 0"),
    _request(b"POST /?n=9 HTTP/1.1", b"Content-Length: 11", body=b"hello world"),
    _request(b"POST /?n=10 HTTP/1.1", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
    _request(b"POST /unread?n=11 HTTP/1.1", b"Content-Length: 5000", body=b"x" * 5000),
    _request(b"POST /?n=12 HTTP/1.1", CODED, body=_chunked(b"hello", b" world")),
    _request(b"POST /?n=13 HTTP/1.1", CODED, body=_chunked(SMUGGLED, trailers=b"X-Sum: abc\r\n")),
    _request(b"POST /unread?n=14 HTTP/1.1", CODED, body=_chunked(b"y" * 3000, b"z" * 3000)),
    _request(b"POST /?n=15 HTTP/1.1", CODED, body=b'5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n'),
    _request(b"POST /?n=16 HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
    _request(b"POST /unread?n=17 HTTP/1.1", b"Expect: 100-continue", CODED, body=_chunked(b"hello")),
    _request(
        b"GET /?n=18 HTTP/1.1",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
    _request(
        b"POST /?n=19 HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3", body=b"abc"
    ),
    _request(b"POST /?n=20 HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c", CODED, body=_chunked(b"abc")),
    _request(b"GET /stream?n=21 HTTP/1.1"),
    _request(b"GET /stream?n=22 HTTP/1.0"),
    _request(b"POST /stream?n=23 HTTP/1.1", b"Content-Length: 3", body=b"abc"),
    _request(b"GET /close?n=24 HTTP/1.1"),
    _request(b"POST /close?n=25 HTTP/1.1", b"Content-Length: 3", body=b"abc"),
    _request(b"GET /?n=26 HTTP/1.1", *[b"X-Field-%d: value %d" % (i, i) for i in range(60)]),
    _request(b"GET /?n=27 HTTP/1.1", b"X-Long: " + b"v" * 6000),
    _request(b"GET /" + b"p" * 4000 + b"?n=28 HTTP/1.1"),
    b"\r\n\r\n" + _request(b"GET /?n=29 HTTP/1.1"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(range(200)),
    b"GET /\r\n\r\n",
)

TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"%",
        b"\r\n\r\n",
        b"\r\n ",
        b"\x7f",
        b"\xff",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n"),
    *(b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"Connection: close\r\n"),
    *(
        b"Connection: upgrade\r\nUpgrade: x\r\n",
        b"Expect: 100-continue\r\n",
        b"HTTP/1.0",
        b"HTTP/1.1",
        b"HTTP/2.0",
    ),
    *(
        b"0\r\n\r\n",
        b"ffffffffffffffff",
        b"18446744073709551616",
        b"-1",
        b"0x10",
        b"+1",
        b"chunked",
        b"GET ",
        b"HEAD ",
    ),
    *(
        b"%00",
        b"%zz",
        b"../",
        b"#",
        b"@",
        b"[::1]",
        b"http://",
        b"*",
        b"a" * 9000,
        b"X: y\r\n" * 120,
        b"\r\n" * 50,
    ),
)
WAYS = ("whole", "whole", "pieces", "pieces", "bytes", "reset", "hung up", "waiting", "deaf")


@dataclass(frozen=True)
class Case:
    """One connection: what is sent, in which pieces, and how the client behaves."""

    number: int
    way: str
    data: bytes
    pieces: tuple[bytes, ...]


def make_case(seed: int, number: int) -> Case:
    """The case `number` of `seed`: one to four requests, most of them mutated."""
    chance = random.Random(f"{seed}:{number}")
    data = b"".join(chance.choice(CORPUS) for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 5, 8))):
        data = mutate(data, chance)
    way = chance.choice(WAYS)
    if way in {"reset", "hung up"}:
        data = data[: chance.randrange(len(data) + 1)]
    if way == "bytes" and len(data) <= 600:
        return Case(number, way, data, tuple(data[i : i + 1] for i in range(len(data))))
    if way in {"pieces", "bytes", "waiting"}:
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 9)))
        return Case(number, way, data, cut(data, cuts))
    return Case(number, way, data, (data,))


def make_stages() -> list[Case]:
    """Every request of the corpus, ended after each of its bytes in each of three ways."""
    cases: list[Case] = []
    for request in CORPUS:
        data = request + CORPUS[0]
        # Long stretches of the same byte are one stage.
        ends = [at for at in range(len(data) + 1) if at < 3 or data[at - 3 : at] != data[at - 1 : at] * 3]
        for at in ends:
            for way in ("reset", "hung up", "pieces"):
                pieces = (data[:at], data[at:]) if way == "pieces" else (data[:at],)
                cases.append(Case(len(cases), way, b"".join(pieces), pieces))
    return cases


def cut(data: bytes, cuts: list[int]) -> tuple[bytes, ...]:
    edges = [0, *cuts, len(data)]
    return tuple(data[a:b] for a, b in itertools.pairwise(edges) if a < b)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One small damage."""
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((1, 1, 2, 4, 16, 64)))
    what = chance.choice(("byte", "token", "token", "token", "gap", "echo", "swap", "copy", "graft"))
    if what in {"swap", "copy"}:
        return _mutate_lines(data, what, chance)
    middle, rest = b"", data[at:]
    match what:
        case "byte":
            middle, rest = bytes((chance.randrange(256),)), data[at + 1 :]
        case "token":
            middle = chance.choice(TOKENS)
        case "gap":
            rest = data[end:]
        case "echo":
            middle = data[at:end] * chance.choice((1, 2, 49))
        case _:
            other = chance.choice(CORPUS)
            rest = other[chance.randrange(len(other)) :]
    return data[:at] + middle + rest


def _mutate_lines(data: bytes, what: str, chance: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    if what == "swap":
        lines[one], lines[two] = lines[two], lines[one]
    else:
        lines.insert(one, lines[two])
    return b"\r\n".join(lines)
