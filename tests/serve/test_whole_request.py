"""A request that needs no parser is exactly what the parser makes of it.

The same bytes are asked twice: in one read, and cut after the first byte, which only the parser can take.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.serve.vocabulary import LONGEST_CACHED, MOST_CACHED_LINES, Vocabulary
from prefork.serve.whole_reader import LEFT_TO_PARSER, STRANGE_BEFORE_PARSER
from prefork.serve.whole_request import LENGTH, read_block, read_request_line
from tests.serve.asking import Asked, Verdict
from tests.serve.rfc_rows import ACCEPTED, REFUSED
from tests.serve.test_oracle import PROFILE, ROWS, make_request

BROWSER = (
    b"Host: shop.example:8000",
    b"Connection: keep-alive",
    b'sec-ch-ua: "Chromium";v="120"',
    b"Upgrade-Insecure-Requests: 1",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    b"Accept: text/html,*/*;q=0.8",
    b"Cookie: session=abc; theme=dark",
    b"X-Forwarded-For: 10.1.2.3",
)


def make(*lines: bytes, first: bytes = b"GET /a?b HTTP/1.1", body: bytes = b"") -> bytes:
    return b"\r\n".join((first, *lines)) + b"\r\n\r\n" + body


POST = make(*BROWSER, b"Content-Length: 4", first=b"POST / HTTP/1.1", body=b"a\r\nb")


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.loop.run_until_complete(asked.close())
    asked.loop.close()


def takes(data: bytes, vocabulary: Vocabulary | None = None) -> bool:
    """Whether it needs no parser."""
    known = vocabulary or Vocabulary()
    line, _, rest = data.partition(b"\r\n")
    raw, end, _ = rest.partition(b"\r\n\r\n")
    return bool(end) and read_request_line(line, known) is not None and read_block(raw, known) is not None


def check(asked: Asked, data: bytes) -> Verdict:
    whole, parsed = asked.ask(data), asked.ask(data[:1], data[1:])
    assert whole == parsed
    return whole


@pytest.mark.parametrize("name", ROWS)
def test_no_row_of_the_rfcs_is_read_in_two_ways(asked: Asked, name: str) -> None:
    check(asked, ROWS[name])
    known = make(*BROWSER)
    assert asked.ask(known, ROWS[name]) == asked.ask(known[:1], known[1:], ROWS[name][:1], ROWS[name][1:])


def test_plain_requests_need_no_parser_and_refused_ones_always_get_it() -> None:
    assert takes(make(*BROWSER))
    assert takes(POST)
    assert takes(make(b"Host: a", b"Connection: Close"))
    assert not takes(make(b"Host: a", b"Connection: close, te"))
    assert sum(takes(row.data) for row in ACCEPTED.values()) > 10
    # What is behind a head is not looked at here: those that are refused for it are not taken whole.
    about_bodies = {
        name for name, row in REFUSED.items() if b"ontent-" in row.data or row.data.count(b"HTTP/") > 1
    }
    assert not {name for name, row in REFUSED.items() if takes(row.data)} - about_bodies


@PROFILE
@given(data=st.data())
def test_damaged_requests_are_read_as_the_parser_reads_them(asked: Asked, data: st.DataObject) -> None:
    original = data.draw(st.sampled_from([make(*BROWSER), POST]) | make_request())
    at = data.draw(st.integers(0, len(original)))
    cut = data.draw(st.integers(0, 2))
    instead = data.draw(
        st.sampled_from(
            [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x7f", b"\xff", b"#", b"%", b","]
        )
        | st.binary(max_size=2)
    )
    damaged = original[:at] + instead + original[at + cut :]
    check(asked, damaged)
    # And once the connection knows what its client says.
    whole = asked.ask(original, damaged)
    assert whole == asked.ask(original[:1], original[1:], damaged[:1], damaged[1:])


@pytest.mark.parametrize(
    "at", [b"GET", b"/a", b"?b", b"HTTP", b"Host", b"shop", b"Cookie", b": session", b"=abc"]
)
def test_no_byte_is_taken_anywhere_that_the_parser_refuses(asked: Asked, at: bytes) -> None:
    before, _, after = make(*BROWSER).partition(at)
    for byte in map(bytes, zip(range(256), strict=True)):
        for damaged in (before + at + byte + after, before + byte + at + after):
            if takes(damaged):
                check(asked, damaged)


@pytest.mark.parametrize("request_", [make(*BROWSER), POST], ids=["get", "post"])
def test_a_request_is_never_taken_before_its_last_byte(asked: Asked, request_: bytes) -> None:
    for at in range(len(request_)):
        assert asked.ask(request_, request_[:at]) == asked.ask(request_)
        assert asked.ask(request_[:at]).requests == []


def test_what_comes_behind_a_familiar_request_is_another_one(asked: Asked) -> None:
    get = make(*BROWSER)
    assert len(asked.ask(get, get + get, POST, POST + get, get).requests) == 7
    assert not asked.ask(get, get + b"G").is_refused
    assert asked.ask(get, get + b"\0").is_refused


def test_another_body_behind_the_same_fields_is_another_body(asked: Asked) -> None:
    asked_for = asked.ask(POST, POST[:-4] + b"wxyz", POST[:-4] + b"wx", b"yz", POST)
    assert [request.body for request in asked_for.requests] == [b"a\r\nb", b"wxyz", b"wxyz", b"a\r\nb"]


def test_a_request_that_comes_again_is_itself_whatever_came_between(asked: Asked) -> None:
    get, other = make(*BROWSER), make(b"Host: other", first=b"PUT /c HTTP/1.1")
    alone = [asked.ask(data).requests[0] for data in (get, POST, other)]
    expected = [alone["gpo".index(which)] for which in "ggppgogpopogg"]
    sent = [{"g": get, "p": POST, "o": other}[which] for which in "ggppgogpopogg"]
    assert asked.ask(*sent).requests == expected


def test_what_an_app_does_to_its_fields_is_not_told_to_the_next_request(asked: Asked) -> None:
    fields = [name for name, _ in asked.ask(make(*BROWSER)).requests[0].headers]
    seen: list[list[bytes]] = []
    app = asked.service.app

    async def spoil(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        headers = scope["headers"]
        seen.append([name for name, _ in headers])
        headers.clear()
        await asked.app(scope, receive, send)

    asked.service.app = spoil
    try:
        asked.ask(make(*BROWSER), make(*BROWSER))
    finally:
        asked.service.app = app
    assert seen == [fields, fields]


def test_credentials_are_not_remembered_for_other_connections() -> None:
    vocabulary = Vocabulary()
    secrets = (b"Cookie: a=b", b"AUTHORIZATION: Basic YQ==", b"proxy-authorization: x")
    assert read_block(b"\r\n".join((b"Host: a", *secrets)), vocabulary) is not None
    assert not {*vocabulary.lines, *vocabulary.noted_lines} & {*secrets}
    assert vocabulary.noted_lines == {b"Host: a": ((b"host", b"a"), 1)}


def test_what_is_remembered_is_bounded() -> None:
    vocabulary = Vocabulary(frozenset((b"x-forwarded-for",)))
    long = b"X: " + b"a" * LONGEST_CACHED
    for at in range(3 * MOST_CACHED_LINES):
        block = b"Host: a\r\nX-Forwarded-For: %d\r\nA: %d\r\n" % (at, at)
        assert read_block(block + long, vocabulary) is not None
        assert read_request_line(b"GET /%d HTTP/1.1" % at, vocabulary) is not None
        assert len(vocabulary.lines) + len(vocabulary.noted_lines) <= MOST_CACHED_LINES
        assert len(vocabulary.requests) <= 1024
    assert long not in vocabulary.lines


def test_a_length_is_noted_and_two_are_for_the_parser() -> None:
    vocabulary = Vocabulary()
    block = read_block(b"Host: a\r\nContent-Length: 12", vocabulary)
    assert block is not None
    assert block.length_bytes == 12
    assert vocabulary.noted_lines[b"Content-Length: 12"][1] == LENGTH
    assert read_block(b"Host: a\r\nContent-Length: 12\r\nContent-Length: 12", vocabulary) is None


@pytest.mark.parametrize(
    "line", [b"A:" + b" " * 8000 + b"\0", b"A:" + b" " * 4000 + b"x" + b" " * 4000 + b"\0"]
)
def test_no_line_takes_long_to_look_at(line: bytes) -> None:
    began_s = time.process_time()
    assert read_block(b"Host: a\r\n" + line, Vocabulary()) is None
    assert time.process_time() - began_s < 0.1  # far less, unless it goes with the square of the blanks


@pytest.mark.parametrize("blanks", [b"", b" ", b"\t \t"])
def test_the_blanks_around_a_value_are_not_its_own(blanks: bytes) -> None:
    block = read_block(b"Host: a\r\nA:" + blanks + b"x \ty" + blanks + b"\r\nB:" + blanks, Vocabulary())
    assert block is not None
    assert block.fields == [(b"host", b"a"), (b"a", b"x \ty"), (b"b", b"")]


def test_a_client_that_says_something_new_each_time_is_heard_each_time(asked: Asked) -> None:
    reads = [make(b"Host: a", b"X-Number: %d" % number) for number in range(100)]
    heard = asked.ask(*reads, reads[-1]).requests
    assert [dict(request.headers)[b"x-number"] for request in heard] == [b"%d" % n for n in [*range(100), 99]]


def test_such_a_client_is_the_parsers_until_it_repeats_itself(asked: Asked) -> None:
    new = [make(b"Host: a", b"X-New: %d" % number) for number in range(200)]
    asked.ask(*new)
    seen = [line for line in asked.service.vocabulary.lines if line.startswith(b"X-New")]
    assert STRANGE_BEFORE_PARSER < len(seen) < 3 * STRANGE_BEFORE_PARSER
    asked.ask(*new[:10], *[make(b"Host: a", b"X-New: again")] * (LEFT_TO_PARSER + 1))
    assert b"X-New: again" in asked.service.vocabulary.lines
