"""h11 as the oracle: what it refuses we refuse, and what both accept is the same request.

Both are strict, so they agree on nearly everything; `EXCEPTIONS` says where they may not, and why. The profile is
small and always the same; `PREFORK_ORACLE=5000` makes as many examples by chance, for a run by hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.asking import Asked, Heard, Verdict
from tests.serve.rfc_rows import ACCEPTED, BROKEN_BODIES, REFUSED, TOKEN, chunks, get

EXAMPLES = int(os.environ.get("PREFORK_ORACLE", "0"))
PROFILE = settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MOST_BYTES = 1 << 20
FIRST = get(b"/first")

# What h11 refuses and we accept: how to find it, what h11 takes instead, and why it does no harm.
EXCEPTIONS: dict[str, tuple[re.Pattern[bytes], bytes, str]] = {
    "several spaces in the request line": (
        re.compile(rb"(?m)([!-~]+) +([!-~]+) +(HTTP/1\.[01]\r)$"),
        rb"\1 \2 \3",
        (
            "RFC 9112 §3 lets a server part the line at white space; there are three words either way, and llhttp does"
            " not say how they were parted."
        ),
    ),
    "a protocol that is like HTTP": (
        re.compile(rb"(?m)([!-~]+ +[!-~]+ +)(?:RTSP|ICE)(/1\.[01]\r)$"),
        rb"\1HTTP\2",
        (
            "llhttp reads RTSP and ICE with the same framing, and does not say which it was; no intermediary forwards"
            " them, and the app is told HTTP."
        ),
    ),
}


def tame(data: bytes) -> bytes:
    """As h11 takes it."""
    for pattern, instead, _ in EXCEPTIONS.values():
        data = pattern.sub(instead, data)
    return data


def ask_h11(data: bytes) -> Verdict:
    """What h11 makes of it, without the empty lines before each request.

    RFC 9112 §2.2 wants an empty line ignored there, and h11 does not. llhttp also ignores a bare CR or LF where no
    request has begun. Where that is, only a parser knows: a body may end in them.
    """
    verdict = Verdict()

    def expect(data: bytes) -> h11.Connection:
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_BYTES)
        server.receive_data(data.lstrip(b"\r\n"))
        return server

    server = expect(data)
    head: h11.Request | None = None
    body = bytearray()

    def note(*, is_complete: bool) -> None:
        if head is not None:
            headers = tuple((bytes(name), bytes(value)) for name, value in head.headers)
            verdict.requests.append(
                Heard(bytes(head.method), bytes(head.target), headers, bytes(body), is_complete)
            )

    while True:
        try:
            event = server.next_event()
        except h11.RemoteProtocolError:
            note(is_complete=False)
            verdict.is_refused = True
            return verdict
        if isinstance(event, h11.Request):
            head, body = event, bytearray()
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            note(is_complete=True)
            if head is None or head.method == b"CONNECT":
                return verdict
            head = None
            server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            server.send(h11.EndOfMessage())
            if server.our_state is h11.MUST_CLOSE or server.their_state is h11.MUST_CLOSE:
                return verdict
            server = expect(server.trailing_data[0])
        else:
            note(is_complete=False)
            return verdict


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.loop.run_until_complete(asked.close())
    asked.loop.close()


def check(asked: Asked, data: bytes, *, is_tamed: bool = False) -> Verdict:
    """Fail unless we are as strict as h11, and hear the same."""
    ours, theirs = asked.ask(data), ask_h11(data)
    heard = theirs.complete
    for one, other in zip(ours.requests, heard, strict=False):
        assert say(one) == say(other)
    if theirs.is_refused and len(ours.requests) > len(heard):
        tamed = tame(data)
        assert not is_tamed, f"h11 refuses what is {ours.requests[len(heard)]}"
        assert tamed != data, f"h11 refuses what is {ours.requests[len(heard)]}"
        check(asked, tamed, is_tamed=True)
    return ours


def say(heard: Heard) -> tuple[object, ...]:
    """What both must agree on: h11 keeps a target as it was sent, and the Host of an absolute one."""
    absolute = re.fullmatch(rb"(?i)https?://([^/?]*)(.*)", heard.target)
    target, headers = heard.target, heard.headers
    if absolute:
        host, target = absolute.groups()
        if not target.startswith(b"/"):
            target = b"*" if not target and heard.method == b"OPTIONS" else b"/" + target
        headers = ((b"host", host), *(field for field in headers if field[0] != b"host"))
    # An empty query is none; h11 puts the coding's name in lower case.
    headers = tuple((n, v.lower() if n == b"transfer-encoding" else v) for n, v in headers)
    return heard.method, target.removesuffix(b"?"), headers, heard.body


ROWS = {
    **{name: row.data for name, row in ACCEPTED.items()},
    **{name: row.data for name, row in REFUSED.items()},
    **{f"body: {name}": chunks(body) for name, body in BROKEN_BODIES.items()},
}


@pytest.mark.parametrize("name", ROWS)
def test_h11_refuses_no_row_that_we_accept(asked: Asked, name: str) -> None:
    data = FIRST + ROWS[name] + FIRST
    check(asked, data)


# Requests that are well-formed, before they are damaged.

TOKENS = st.text([chr(byte) for byte in TOKEN], min_size=1, max_size=8).map(str.encode)
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"])
PATHS = st.lists(
    st.sampled_from([b"a", b"/", b"%41", b"..", b";b", b"?c=d", b"%zz", b"//", b"{", b"+"]), max_size=6
)
TARGETS = st.one_of(
    PATHS.map(lambda parts: b"/" + b"".join(parts)), st.sampled_from([b"http://h", b"http://h:1/p?q", b"*"])
)
VALUES = st.lists(
    st.sampled_from([b"a", b" ", b"\t", b"\xe9", b",", b'"', b";", b":", b"0"]), max_size=6
).map(b"".join)
OTHERS = st.sampled_from(
    [
        *(
            b"Connection: close",
            b"Connection: keep-alive",
            b"Expect: 100-continue",
            b"Upgrade: x",
            b"TE: trailers",
        ),
        *(b"Connection: upgrade, close", b"Content-Type: text/plain", b"Trailer: X", b"Accept: */*"),
    ]
)
FIELDS = st.lists(st.one_of(OTHERS, st.tuples(TOKENS, VALUES).map(b": ".join)), max_size=4)
BODIES = st.binary(max_size=40) | st.sampled_from([b"", FIRST])
EXTENSIONS = st.sampled_from([b"", b"", b";a", b";a=b", b';a="b c"', b";a=b;c"])


@st.composite
def make_request(draw: st.DrawFn) -> bytes:
    """One request with a body of its own, or without."""
    target = draw(TARGETS)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    version = (
        b"HTTP/1.1" if framing == "chunked" else draw(st.sampled_from([b"HTTP/1.1"] * 4 + [b"HTTP/1.0"]))
    )
    method = b"OPTIONS" if target == b"*" else draw(METHODS)
    lines = [b" ".join((method, target, version))]
    lines += [b"Host: h", *draw(FIELDS)]
    body = draw(BODIES)
    match framing:
        case "none":
            body = b""
        case "length":
            lines.append(b"Content-Length: %d" % len(body))
        case _:
            lines.append(b"Transfer-Encoding: chunked")
            at = draw(st.integers(0, len(body)))
            pieces = [piece for piece in (body[:at], body[at:]) if piece]
            coded = b"".join(b"%x%b\r\n%b\r\n" % (len(p), draw(EXTENSIONS), p) for p in pieces)
            trailers = draw(st.sampled_from([b"", b"X: y\r\n", b"Content-Type: a\r\nX:\r\n"]))
            body = coded + b"0\r\n" + trailers + b"\r\n"
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


PIECES = st.sampled_from(
    [
        *(
            b"\r\n",
            b"\r",
            b"\n",
            b"\0",
            b" ",
            b"\t",
            b":",
            b",",
            b";",
            b"\x0b",
            b"\xff",
            b"0",
            b"1",
            b"x",
            b"-",
        ),
        *(b"\r\n\r\n", b"\r\n ", b"Host: h\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"chunked", b"gzip, ", b"HTTP/1.0", b"GET ", b"0\r\n\r\n", b"ffffffff", b"%", b"#", b"@", b"\x7f"),
    ]
)


@st.composite
def make_damaged(draw: st.DrawFn) -> bytes:
    """A row of requests, with some bytes put in, taken out, or written over."""
    whole = st.one_of(
        make_request(), st.sampled_from(list(ROWS.values())).filter(lambda row: len(row) < 2000)
    )
    data = b"".join(draw(st.lists(whole, min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        piece = draw(PIECES)
        match draw(st.sampled_from(["in", "out", "over"])):
            case "in":
                data = data[:at] + piece + data[at:]
            case "out":
                data = data[:at] + data[at + draw(st.integers(1, 6)) :]
            case _:
                data = data[:at] + piece + data[at + len(piece) :]
    return data + FIRST


@PROFILE
@given(requests=st.lists(make_request(), min_size=1, max_size=4))
def test_what_both_accept_is_the_same_request(asked: Asked, requests: list[bytes]) -> None:
    data = b"".join(requests)
    assert check(asked, data).requests  # well-formed: at least the first is served


@PROFILE
@given(data=make_damaged())
def test_what_h11_refuses_we_refuse(asked: Asked, data: bytes) -> None:
    check(asked, data)
