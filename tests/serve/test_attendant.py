"""With every request: a line in the access log, an id, the ends that a trusted proxy tells, and a limit on how many.

On both loops, over ASGI and WSGI, inline and threaded; with real sockets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from prefork.config.peers import HEADERS
from prefork.serve import attendant
from prefork.serve.access_log import AccessLog
from tests.serve.serving import GET, HOST, Served, serving, wait_until

INTERFACES = ("asgi", "wsgi", "wsgi-threads")
FORMAT = '%(h)s "%(r)s" %(s)s %(B)s "%(f)s" %(id)s %(X)s'


class Lines:
    """A sink that keeps everything; where there is no room, it says so."""

    def __init__(self) -> None:
        self.dropped = 0
        self.most_line_bytes = 0
        self.taken = b""
        self.writes = 0
        self.has_room = True

    def write(self, lines: bytes, /) -> bool:
        self.taken += lines
        self.writes += 1
        return self.has_room

    def finish(self, _: float, /) -> None:
        pass

    def read(self) -> list[str]:
        return self.taken.decode().splitlines()

    def wait(self, count: int) -> list[str]:
        wait_until(lambda: len(self.read()) >= count, f"{count} lines, not {self.read()}")
        return self.read()


@contextmanager
def logging_service(
    app: Any, interface: str, line_format: str = FORMAT, *, as_json: bool = False, **settings: Any
) -> Iterator[tuple[Served, Lines]]:
    lines = Lines()
    with serving(app, interface, **settings) as served:
        log = AccessLog(
            line_format,
            as_json=as_json,
            sink=lines,
            loop=served.loop,
            wall=time.time,
            timer=time.perf_counter,
        )
        served.call(lambda: served.service.log_access(log))
        yield served, lines


class Told:
    """An app of any interface that answers with what it was told: as JSON, by the path in other ways."""

    def __init__(self, interface: str) -> None:
        self.app: Any = self.asgi if interface == "asgi" else self.wsgi

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        if scope["path"] == "/raise":
            raise ZeroDivisionError
        fields = dict(scope["headers"])
        told = {
            "client": scope["client"] and scope["client"][0],
            "port": scope["client"] and scope["client"][1],
            "scheme": scope["scheme"],
            "host": fields.get(b"host", b"").decode(),
            "server": list(scope["server"]),
            "id": fields.get(b"x-request-id", b"").decode(),
            "for": fields.get(b"x-forwarded-for", b"").decode(),
        }
        headers = [(b"x-request-id", b"the-apps")] if scope["path"] == "/own-id" else []
        if scope["path"] == "/spoil":
            scope["headers"].append(7)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/stream":
            for _ in range(3):
                await send({"type": "http.response.body", "body": b"12345", "more_body": True})
            await send({"type": "http.response.body"})
            return
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/raise":
            raise ZeroDivisionError
        told = {
            "client": environ["REMOTE_ADDR"],
            "port": int(environ.get("REMOTE_PORT", 0)),
            "scheme": environ["wsgi.url_scheme"],
            "host": environ.get("HTTP_HOST", ""),
            "server": [environ["SERVER_NAME"], int(environ["SERVER_PORT"])],
            "id": environ.get("HTTP_X_REQUEST_ID", ""),
            "for": environ.get("HTTP_X_FORWARDED_FOR", ""),
        }
        own = [("X-Request-ID", "the-apps")] if environ["PATH_INFO"] == "/own-id" else []
        start_response("200 OK", own)
        if environ["PATH_INFO"] == "/stream":
            return iter([b"12345"] * 3)
        return [json.dumps(told).encode()]


def ask(path: bytes = b"/", *fields: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path, HOST, b"".join(field + b"\r\n" for field in fields))


# The access log.


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_each_answer_has_one_line(interface: str, loop: str) -> None:
    with logging_service(Told(interface).app, interface, loop=loop) as (served, lines):
        client = served.connect()
        size = len(client.ask(ask(b"/a?b=c", b"Referer: r")).body)
        client.ask(ask(b"/stream"))
        client.ask(b"HEAD /head HTTP/1.1\r\n" + HOST + b"\r\n")
        client.ask(ask(b"/raise"))
        client.ask(ask(b"/last", b"Connection: close"))
        lines.wait(5)
    assert lines.read() == [
        f'127.0.0.1 "GET /a?b=c HTTP/1.1" 200 {size} "r" - +',
        '127.0.0.1 "GET /stream HTTP/1.1" 200 15 "-" - +',
        '127.0.0.1 "HEAD /head HTTP/1.1" 200 0 "-" - +',
        '127.0.0.1 "GET /raise HTTP/1.1" 500 21 "-" - +',
        f'127.0.0.1 "GET /last HTTP/1.1" 200 {size} "-" - -',
    ]


REFUSED = [
    (b"GET /x HTTP/1.1\r\n\r\n", '"GET /x -" 400 11'),
    (b"nonsense\r\n\r\n", '"-" 400 11'),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 'xxx -" 414'),
    (b"GET /big HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 101 + b"\r\n", '"GET /big -" 431'),
    (b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 2000\r\n\r\n", '"POST /p -" 413'),
    (
        b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        '"POST /c HTTP/1.1" 400 11',
    ),
    (b"GET /half HTTP/1.1\r\nHost: te", '"GET /half -" 408'),
]


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize(("sent", "line"), REFUSED, ids=[line for _, line in REFUSED])
def test_a_refusal_has_a_line_with_what_is_known(interface: str, sent: bytes, line: str) -> None:
    settings: dict[str, Any] = {"header_timeout_s": 0.2, "limit_request_body_bytes": 1000}
    with logging_service(Told(interface).app, interface, **settings) as (served, lines):
        client = served.connect()
        client.send(sent)
        client.read_to_end()
        said = lines.wait(1)
    assert len(said) == 1
    assert line in said[0]
    assert said[0].endswith(" -")


def test_lines_are_in_order_and_share_a_write() -> None:
    with logging_service(Told("asgi").app, "asgi", "%(U)s") as (served, lines):
        client = served.connect()
        client.send(b"".join(ask(b"/%d" % number) for number in range(10)))
        for _ in range(10):
            client.read_response()
        assert lines.wait(10) == [f"/{number}" for number in range(10)]
        assert lines.writes < 10


async def forever(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/begun":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"1234", "more_body": True})
    await receive()
    await receive()
    await send({"type": "http.response.body", "body": b"5"})


def test_a_client_that_leaves_has_a_line_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with logging_service(forever, "asgi") as (served, lines):
        begun = served.connect()
        begun.send(ask(b"/begun"))
        begun.read_until(b"1234")
        begun.close()
        lines.wait(1)
        silent = served.connect()
        silent.send(ask(b"/silent"))
        wait_until(lambda: served.service.counters.in_flight == 1)
        served.call(served.service.cut)
        lines.wait(2)
    assert lines.read() == [
        '127.0.0.1 "GET /begun HTTP/1.1" 200 4 "-" - X',
        '127.0.0.1 "GET /silent HTTP/1.1" 499 0 "-" - X',
    ]
    assert "ERROR" not in caplog.text


def test_a_request_that_takes_too_long_has_a_line_that_says_which() -> None:
    with logging_service(forever, "asgi", request_timeout_s=0.2) as (served, lines):
        assert served.ask(ask(b"/slow?q")).status == 504
        assert lines.wait(1) == ['127.0.0.1 "GET /slow?q HTTP/1.1" 504 15 "-" - -']


def test_idle_connections_have_no_line() -> None:
    with logging_service(Told("asgi").app, "asgi", keep_alive_s=0.1) as (served, lines):
        served.connect()
        client = served.connect()
        client.ask(GET)
        client.is_closed()
        assert len(lines.wait(1)) == 1


def test_what_the_app_does_to_the_fields_costs_no_line() -> None:
    with logging_service(Told("asgi").app, "asgi", "%(U)s %(a)s") as (served, lines):
        served.ask(ask(b"/spoil", b"User-Agent: x"))
        served.ask(ask(b"/spoil", b"User-Agent: x", b"Proxy-Connection: x"))  # which the parser reads
        served.ask(ask(b"/fine", b"User-Agent: x"))
        assert lines.wait(3) == ["/spoil x", "/spoil -", "/fine x"]


def test_the_time_runs_from_the_head_to_the_last_byte() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body"})

    with logging_service(app, "asgi", "%(D)s") as (served, lines):
        client = served.connect()
        client.send(ask()[:-2])
        time_before = time.perf_counter()
        client.ask(b"\r\n")
        took_us = (time.perf_counter() - time_before) * 1e6
        assert 45_000 <= int(lines.wait(1)[0]) <= took_us


def test_a_line_that_a_pipe_would_tear_is_shortened() -> None:
    with logging_service(Told("asgi").app, "asgi", '"%(U)s" "%(a)s" %(s)s') as (served, lines):
        lines.most_line_bytes = 4096
        served.ask(ask(b"/" + b"p" * 4000, b"User-Agent: " + b"\xff" * 4000))
        (line,) = lines.wait(1)
    assert len(line) < 600
    assert line.endswith('" 200')


def test_lines_that_found_no_room_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with logging_service(Told("asgi").app, "asgi") as (served, lines):
        lines.dropped, lines.has_room = 5, False
        for _ in range(20):
            served.ask(GET)
        wait_until(lambda: lines.writes > 3)
        lines.dropped = 7
        lines.has_room = True
    assert [record.__dict__["lines"] for record in caplog.records if "dropped" in record.message] == [5]


def test_json_has_one_object_a_line() -> None:
    with logging_service(Told("asgi").app, "asgi", as_json=True, request_id=True) as (served, lines):
        served.ask(ask(b"/%0a%22", b"X-Request-ID: abc", b'User-Agent: a"b\\\xc3\xa9'))
        said = json.loads(lines.wait(1)[0])
    assert said["path"] == "/%0a%22"
    assert said["agent"] == "a\\x22b\\x5c\\xc3\\xa9"
    assert (said["status"], said["request_id"], said["ended"]) == (200, "abc", "kept")


# Request ids.


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_id_goes_to_the_app_to_the_client_and_to_the_log(interface: str) -> None:
    with logging_service(Told(interface).app, interface, "%(id)s %({X-Request-ID}i)s", request_id=True) as (
        served,
        lines,
    ):
        client = served.connect()
        made = client.ask(ask())
        again = client.ask(ask())
        given = client.ask(ask(b"/", b"X-Request-ID: trace-1/2"))
        streamed = client.ask(ask(b"/stream", b"X-Request-ID: s"))
        failed = client.ask(ask(b"/raise", b"X-Request-ID: f"))
        own = client.ask(ask(b"/own-id", b"X-Request-ID: o"))
        lines.wait(6)
    first, second = made.get("x-request-id") or "", again.get("x-request-id") or ""
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert re.fullmatch(r"[0-9a-f]{32}", second)
    assert first != second
    assert [json.loads(each.body)["id"] for each in (made, again, given)] == [first, second, "trace-1/2"]
    assert [each.get("x-request-id") for each in (given, streamed, failed, own)] == [
        "trace-1/2", "s", "f", "the-apps",
    ]  # fmt: skip
    assert lines.read() == [f"{each} {each}" for each in (first, second, "trace-1/2", "s", "f", "o")]


@pytest.mark.parametrize(
    "fields",
    [
        (b"X-Request-ID: a b",),
        (b"X-Request-ID: \xff",),
        (b"X-Request-ID:",),
        (b"X-Request-ID: " + b"x" * 129,),
        (b"X-Request-ID: a", b"X-Request-ID: b"),
    ],
)
def test_an_id_that_is_not_valid_is_replaced(fields: tuple[bytes, ...]) -> None:
    with serving(Told("asgi").app, request_id=True) as served:
        response = served.ask(ask(b"/", *fields))
    assert re.fullmatch(r"[0-9a-f]{32}", response.get("x-request-id") or "")
    assert json.loads(response.body)["id"] == response.get("x-request-id")


def test_without_the_option_an_id_is_the_apps_alone() -> None:
    with serving(Told("asgi").app) as served:
        response = served.ask(ask(b"/", b"X-Request-ID: a b"))
    assert response.get("x-request-id") is None
    assert json.loads(response.body)["id"] == "a b"


# Forwarded ends.


def get_told(served: Served, *fields: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(served.ask(ask(b"/", *fields)).body)
    return told


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_trusted_proxy_tells_the_ends(interface: str) -> None:
    with logging_service(Told(interface).app, interface, "%(h)s", forwarded_headers=HEADERS) as (
        served,
        lines,
    ):
        told = get_told(
            served,
            b"X-Forwarded-For: 198.51.100.1, 192.0.2.7:99",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: shop.example",
        )
        assert lines.wait(1) == ["192.0.2.7"]
    assert told == {
        "client": "192.0.2.7",
        "port": 99,
        "scheme": "https",
        "host": "shop.example",
        "server": ["shop.example", 443],
        "id": "",
        "for": "198.51.100.1, 192.0.2.7:99",
    }


@pytest.mark.parametrize("interface", INTERFACES)
def test_what_was_told_is_for_one_request(interface: str) -> None:
    with serving(Told(interface).app, interface, forwarded_headers=HEADERS) as served:
        client = served.connect()
        asked = [
            (b"X-Forwarded-For: 192.0.2.1",),
            (b"X-Forwarded-For: 192.0.2.1",),
            (),
            (b"X-Forwarded-For: 192.0.2.2", b"X-Forwarded-Proto: https"),
            (b"X-Forwarded-For: 192.0.2.2",),
        ]
        client.send(b"".join(ask(b"/", *fields) for fields in asked))
        told = [json.loads(client.read_response().body) for _ in asked]
    assert [(each["client"], each["scheme"]) for each in told] == [
        ("192.0.2.1", "http"),
        ("192.0.2.1", "http"),
        ("127.0.0.1", "http"),
        ("192.0.2.2", "https"),
        ("192.0.2.2", "http"),
    ]


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize(
    "settings",
    [
        {"forwarded_headers": HEADERS, "forwarded_allow_ips": ("10.0.0.1",)},
        {"forwarded_headers": ()},
        {"forwarded_headers": ("forwarded",)},
    ],
    ids=["peer not trusted", "nothing believed", "field not believed"],
)
def test_what_is_not_believed_reaches_the_app_and_changes_nothing(
    interface: str, settings: dict[str, Any]
) -> None:
    with serving(Told(interface).app, interface, **settings) as served:
        told = get_told(
            served, b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil"
        )
    assert (told["client"], told["scheme"], told["host"]) == ("127.0.0.1", "http", "test")
    assert told["for"] == "192.0.2.7"


def test_a_proxy_that_talks_nonsense_is_told_of_once_and_its_requests_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(Told("asgi").app, forwarded_headers=HEADERS) as served:
        for number in range(5):
            nonsense = b"X-Forwarded-Proto: gopher%d" % number
            told = get_told(served, b"X-Forwarded-For: 192.0.2.7", nonsense)
            assert (told["client"], told["scheme"]) == ("192.0.2.7", "http")
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.message == "a trusted proxy says what means nothing, not believed"
    fields = (record.__dict__[name] for name in ("field", "value", "proxy", "times"))
    assert tuple(fields) == ("x-forwarded-proto", "gopher0", "127.0.0.1", 1)


def test_fields_in_trailers_are_not_believed() -> None:
    with serving(Told("asgi").app, forwarded_headers=HEADERS) as served:
        client = served.connect()
        told = client.ask(
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
            b"0\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
        )
        after = client.ask(ask())
    assert [json.loads(each.body)["client"] for each in (told, after)] == ["127.0.0.1"] * 2


# The limit.


class Held:
    """An ASGI app whose requests end when they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.seen = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        self.seen += 1
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"held"})


def test_past_the_limit_a_request_is_told_to_come_again(caplog: pytest.LogCaptureFixture) -> None:
    app = Held()
    with logging_service(app, "asgi", "%(s)s %(U)s", limit_concurrency=2) as (served, lines):
        holding = [served.connect() for _ in range(2)]
        for client in holding:
            client.send(ask(b"/held"))
        wait_until(lambda: app.seen == 2)
        third = served.connect()
        for _ in range(3):
            refused = third.ask(ask(b"/more"))
            assert (refused.status, refused.get("retry-after")) == (503, "1")
            assert refused.get("connection") is None  # on the same connection again
        served.loop.call_soon_threadsafe(app.go.set)
        assert [client.read_response().body for client in holding] == [b"held", b"held"]
        assert third.ask(ask(b"/now")).status == 200
        assert app.seen == 3
        assert sorted(lines.wait(6)) == ["200 /held"] * 2 + ["200 /now"] + ["503 /more"] * 3
    told = [record for record in caplog.records if "limit-concurrency" in record.message]
    assert len(told) == 1
    assert told[0].levelno == logging.WARNING


def test_a_body_past_the_limit_does_not_confuse_the_connection() -> None:
    app = Held()
    with serving(app, limit_concurrency=1) as served:
        holding = served.connect()
        holding.send(GET)
        wait_until(lambda: app.seen == 1)
        second = served.connect()
        post = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 70000\r\n\r\n"
        assert second.ask(post + b"x" * 20_000).status == 503
        second.read_to_end()
        third = served.connect()
        assert third.ask(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc").status == 503
        served.loop.call_soon_threadsafe(app.go.set)
        assert holding.read_response().status == 200
        assert third.ask(GET).status == 200
        latency = served.service.tally.latency
        wait_until(lambda: sum(latency) >= 3)
        assert sum(latency[34:]) == 0, "refused ones count from their own head on: less than 2^33 ns"


def test_a_request_behind_another_on_its_connection_is_not_beside_it() -> None:
    with serving(Told("asgi").app, limit_concurrency=1) as served:
        client = served.connect()
        client.send(GET * 12)
        assert {client.read_response().status for _ in range(12)} == {200}


@pytest.mark.parametrize("interface", ["wsgi", "wsgi-threads"])
def test_the_limit_holds_for_wsgi(interface: str) -> None:
    import threading  # noqa: PLC0415

    go, seen = threading.Event(), threading.Semaphore(0)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/held":
            seen.release()
            assert go.wait(10)
        return [b"x"]

    with serving(app, interface, limit_concurrency=1) as served:
        holding = served.connect()
        if interface == "wsgi":
            # Inline nobody is beside another, but one whose body is still coming holds its place.
            holding.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\n")
            wait_until(lambda: served.service.counters.in_flight == 1)
        else:
            holding.send(ask(b"/held"))
            assert seen.acquire(timeout=10)
        assert served.ask(GET).status == 503
        go.set()
        if interface == "wsgi":
            holding.send(b"abc")
        assert holding.read_response().status == 200
        wait_until(lambda: served.service.counters.in_flight == 0)
        assert served.ask(GET).status == 200


def test_nobody_who_wants_nothing_gets_an_attendant() -> None:
    with serving(Told("asgi").app) as served:
        connection = served.call(served.service.open_connection)
        assert not isinstance(connection, attendant.AttendedConnection)
        assert served.service._attendant is None
