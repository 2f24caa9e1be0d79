"""A line says what its format asks for, and nothing foreign in it can end it, quote it or drive a terminal."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.access_format import ATOMS, DEFAULT_FORMAT
from prefork.serve.access_line import (
    ABORTED,
    KEPT,
    SHORT_VALUE_CHARS,
    Facts,
    Stamp,
    compile_json,
    compile_text,
    escape,
    tells_seconds,
)
from prefork.serve.ends import Ends

NOON_S = 1_000_000_000.25
ENDS = Ends(("192.0.2.7", 4321), ("10.0.0.1", 8000), "https")
HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nX-Made: yes\r\n"


def make_facts(**changed: Any) -> Facts:
    facts: dict[str, Any] = {
        "method": "GET",
        "target": ("/a b", "/a b", b"/a%20b", b"x=1"),
        "version": "1.1",
        "fields": [(b"host", b"shop"), (b"user-agent", b"curl/8"), (b"referer", b"http://x/")],
        "request_id": b"",
        "ends": ENDS,
        "head": HEAD,
        "size": 12,
        "seconds": 1.2345678,
        "ended": KEPT,
    }
    facts.update(changed)
    made: Any = tuple(facts.values())
    return made  # type: ignore[no-any-return]  # the values are as many and of such types


def render(line_format: str, **changed: Any) -> str:
    return compile_text(line_format, Stamp(lambda: NOON_S))(*make_facts(**changed))


@pytest.mark.parametrize(
    ("atom", "text"),
    [
        ("h", "192.0.2.7"),
        ("l", "-"),
        ("u", "-"),
        ("r", "GET /a%20b?x=1 HTTP/1.1"),
        ("m", "GET"),
        ("U", "/a%20b"),
        ("q", "x=1"),
        ("H", "HTTP/1.1"),
        ("s", "201"),
        ("B", "12"),
        ("b", "12"),
        ("f", "http://x/"),
        ("a", "curl/8"),
        ("T", "1"),
        ("D", "1234567"),
        ("M", "1234"),
        ("L", "1.234568"),
        ("id", "-"),
        ("X", "+"),
        ("{Host}i", "shop"),
        ("{X-None}i", "-"),
        ("{x-made}o", "yes"),
        ("{x-none}o", "-"),
        ("{REQUEST_METHOD}e", "GET"),
        ("{REQUEST_URI}e", "/a%20b?x=1"),
        ("{REMOTE_PORT}e", "4321"),
        ("{SERVER_NAME}e", "10.0.0.1"),
        ("{SERVER_PORT}e", "8000"),
        ("{wsgi.url_scheme}e", "https"),
        ("{HTTP_USER_AGENT}e", "curl/8"),
        ("{NOWHERE_SET}e", "-"),
    ],
)
def test_each_atom_says_what_gunicorns_says(atom: str, text: str) -> None:
    assert render(f"%({atom})s") == text


def test_every_atom_has_a_value() -> None:
    assert [render(f"%({atom})s") for atom in ATOMS if not render(f"%({atom})s")] == []
    assert render("%(p)s") == f"<{os.getpid()}>"


def test_the_time_is_local_and_english() -> None:
    day, _, zone = render("%(t)s").partition(" ")
    assert day.startswith("[0")
    assert "/Sep/2001:" in day
    assert len(zone) == 6
    assert zone.endswith("]")


def test_the_default_is_apaches_combined() -> None:
    line = render(DEFAULT_FORMAT)
    before, _, after = line.partition(" [")
    assert before == "192.0.2.7 - -"
    assert after.partition("] ")[2] == '"GET /a%20b?x=1 HTTP/1.1" 201 12 "http://x/" "curl/8"'


def test_what_is_not_known_is_a_dash() -> None:
    line = render(
        "%(h)s %(m)s %(r)s %(U)s %(H)s %(s)s %(b)s %(B)s %(X)s",
        method="",
        target=("", "", b"", b""),
        version="",
        ends=Ends(None, None, "http"),
        head=b"",
        size=0,
        ended=ABORTED,
    )
    assert line == "- - - - - 499 - 0 X"


@pytest.mark.parametrize(
    ("value", "user"),
    [
        (b"Basic " + base64.b64encode(b"ann:secret"), "ann"),
        (b"basic " + base64.b64encode(b'a"\nb:x'), "a\\x22\\x0ab"),
        (b"Basic " + base64.b64encode(b"no colon"), "-"),
        (b"Basic !!", "-"),
        (b"Bearer abc", "-"),
        (b"Basic", "-"),
    ],
)
def test_the_user_is_that_of_basic_authentication(value: bytes, user: str) -> None:
    assert render("%(u)s", fields=[(b"authorization", value)]) == user


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_value_can_leave_its_quotes(agent: bytes, query: bytes) -> None:
    line = render(
        '"%(a)s" "%({x}i)s" "%({HTTP_X}e)s" "%(q)s" "%(id)s"',
        fields=[(b"user-agent", agent), (b"x", agent)],
        target=("", "", b"/", query),
        request_id=agent,
    )
    assert line.isascii()
    assert line.isprintable()
    assert line.count('"') == 10


@given(st.binary(max_size=300))
def test_escaping_loses_nothing(raw: bytes) -> None:
    escaped = escape(raw)
    assert escaped.encode("ascii").decode("unicode_escape").encode("latin-1") == raw


def test_a_long_value_is_cut() -> None:
    short = compile_text('"%(a)s"', Stamp(lambda: NOON_S), SHORT_VALUE_CHARS)
    assert len(short(*make_facts(fields=[(b"user-agent", b"\xff" * 9000)]))) == SHORT_VALUE_CHARS + 2
    assert len(render("%(a)s", fields=[(b"user-agent", b"\xff" * 99_000)])) <= 8192


def test_braces_quotes_and_percent_signs_of_the_format_are_text() -> None:
    text = """{x} \\ ' \""" %% {{seconds}} f"""
    assert render(text + "%(s)s") == text.replace("%%", "%") + "201"


def test_json_says_the_same_facts_as_fields() -> None:
    line = compile_json("%(h)s %({Host}i)s %({X-Made}o)s %({REMOTE_PORT}e)s", Stamp(lambda: NOON_S))(
        *make_facts(request_id=b'a"b')
    )
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2001-09-09T01:46:40.250Z",
        "level": "info",
        "logger": "prefork.access",
        "pid": os.getpid(),
        "event": "request",
        "client": "192.0.2.7",
        "user": None,
        "method": "GET",
        "path": "/a%20b",
        "query": "x=1",
        "protocol": "HTTP/1.1",
        "status": 201,
        "bytes": 12,
        "referrer": "http://x/",
        "agent": "curl/8",
        "duration_us": 1234567,
        "request_id": "a\\x22b",
        "ended": "kept",
        "request_headers": {"host": "shop"},
        "response_headers": {"x-made": "yes"},
        "variables": {"REMOTE_PORT": "4321"},
    }


@pytest.mark.parametrize("atom", ATOMS)
def test_no_line_that_tells_the_time_taken_is_thought_not_to(atom: str) -> None:
    line_format = f"%({atom})s"
    tells = render(line_format, seconds=1.0) != render(line_format, seconds=2.5)
    assert tells_seconds(line_format) == tells
