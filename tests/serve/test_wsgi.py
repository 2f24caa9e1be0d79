"""WSGI over real sockets, inline and on threads: PEP 3333, and who waits for whom."""

from __future__ import annotations

import contextvars
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from tests.serve.serving import GET, HOST, serving, wait_until

Environ = dict[str, Any]

pytestmark = [
    pytest.mark.parametrize("loop", ["uvloop", "asyncio"]),
    pytest.mark.parametrize("interface", ["wsgi", "wsgi-threads"]),
]
TEXT = [("Content-Type", "text/plain")]


class Closing:
    """An iterable that remembers whether it was closed."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = iter(chunks)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk: bytes = next(self._chunks)
        return chunk

    def close(self) -> None:
        self.closed += 1


def post(body: bytes, *fields: bytes) -> bytes:
    head = [b"POST /p HTTP/1.1", b"Host: test", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def test_the_environ_is_exact(interface: str, loop: str) -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", TEXT)
        return [b""]

    fields = (
        b"Content-Type: a/b\r\nX-One: 1\r\nx-one: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"X_Sneaky: no\r\nProxy: http://evil\r\nX-Latin: \xe9\r\n"
    )
    with serving(app, interface, loop, root_path="/api") as served:
        client = served.connect()
        client.ask(b"GET /api/caf%C3%A9?q=%20 HTTP/1.1\r\nHost: test\r\n" + fields + b"\r\n")
        client.ask(b"GET /other HTTP/1.0\r\n\r\n")
        own = client.sock.getsockname()
        port = served.listener.getsockname()[1]
    environ = seen[0]
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/api",
        "PATH_INFO": "/caf\xc3\xa9",
        "QUERY_STRING": "q=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(port),
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": str(own[1]),
        "CONTENT_TYPE": "a/b",
        "HTTP_HOST": "test",
        "HTTP_X_ONE": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_LATIN": "\xe9",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": interface == "wsgi-threads",
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert {key for key in environ if key.startswith("HTTP_")} == {key for key in expected if "HTTP_" in key}
    assert type(environ) is dict
    assert seen[1]["PATH_INFO"] == "/other"
    assert seen[1]["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_a_unix_socket_still_makes_a_whole_environ(interface: str, loop: str) -> None:
    @validator
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [environ["SERVER_PORT"].encode()]

    with serving(app, interface, loop, family=socket.AF_UNIX) as served:
        assert served.ask(GET).body == b"80"


def test_wsgiref_validate_finds_nothing(interface: str, loop: str) -> None:
    @validator
    def app(environ: Environ, start_response: Any) -> Any:
        source = environ["wsgi.input"]
        body = source.read(2) + source.readline() + b"".join(source.readlines()) + source.read(1)
        environ["wsgi.errors"].flush()
        write = start_response("200 OK", [*TEXT, ("Content-Length", str(len(body) + 2))])
        write(b"w:")
        return iter([body])

    with serving(app, interface, loop) as served:
        client = served.connect()
        for _ in range(2):
            assert client.ask(post(b"a\nb\nc\n", b"Content-Type: text/plain")).body == b"w:a\nb\nc\n"
        assert client.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
        assert client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").body == b"w:"


@pytest.mark.parametrize("size", [0, 10, 300_000, 3_000_000])
def test_input_is_bounded_and_chunked_bodies_have_a_length(interface: str, loop: str, size: int) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        source = environ["wsgi.input"]
        parts = [source.read(7), *source]
        assert (source.read(), source.readline(), source.readlines()) == (b"", b"", [])
        start_response("200 OK", TEXT)
        length = environ.get("CONTENT_LENGTH", "none").encode()
        return [length, b" ", b"".join(parts)]

    body = b"line\n" * (size // 5)
    with serving(app, interface, loop) as served:
        client = served.connect()
        assert client.ask(post(body)).body == b"%d " % size + body
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        client.send(b"%x\r\n%b\r\n" % (size, body) if size else b"")
        response = client.ask(b"0\r\n\r\n")
        assert response.body == (b"%d " % size + body if size else b"none ")


def test_wsgiref_validate_finds_nothing_whatever_the_method_and_framing(interface: str, loop: str) -> None:
    @validator
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    with serving(app, interface, loop) as served:
        client = served.connect()
        assert client.ask(GET).status == 200
        assert client.ask(GET.replace(b"GET", b"HEAD")).status == 200
        assert client.ask(GET.replace(b"GET", b"DELETE")).status == 200
        assert client.ask(post(b"abc", b"Content-Type: text/plain")).body == b"abc"
        client.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        assert client.ask(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").body == b"abcde"
        assert client.ask(b"GET / HTTP/1.0\r\n\r\n").status == 200


@pytest.mark.parametrize("padding", [0, 300_000], ids=["memory", "file"])
def test_input_reads_as_a_file_does(interface: str, loop: str, padding: int) -> None:
    seen: list[Any] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        source = environ["wsgi.input"]
        seen.extend(
            [source.read(0), source.read(3), source.readline(2), source.readline(), source.readline(99)]
        )
        seen.extend([source.readlines(4), next(iter(source)), len(source.read(padding)), source.readlines()])
        seen.extend([source.read(5), source.read(), source.readline(), source.readlines(), list(source)])
        start_response("200 OK", TEXT)
        return [b""]

    body = b"one\ntwo three\nfour\nfive\nsix\nseven\n" + b"p" * padding + b"end\nlast"
    with serving(app, interface, loop) as served:
        assert served.ask(post(body)).status == 200
    assert seen[:5] == [b"", b"one", b"\n", b"two three\n", b"four\n"]
    assert seen[5:8] == [[b"five\n"], b"six\n", padding]
    assert b"".join(seen[8]) == (b"seven\n" + b"p" * padding + b"end\nlast")[padding:]
    assert seen[9:] == [b"", b"", b"", [], []]


def test_one_chunk_gets_a_length_and_many_are_chunked(interface: str, loop: str) -> None:
    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        return {"/one": [b"one"], "/two": [b"o", b"ne"], "/lazy": iter([b"o", b"", b"ne"])}[
            environ["PATH_INFO"]
        ]

    with serving(app, interface, loop) as served:
        client = served.connect()
        for path, length in (
            (b"/one ", "3"),
            (b"/two ", "3" if interface == "wsgi" else None),
            (b"/lazy ", None),
        ):
            response = client.ask(GET.replace(b"/ ", path))
            assert (response.get("content-length"), response.body) == (length, b"one")


def test_start_response_may_come_with_the_first_chunk(interface: str, loop: str) -> None:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("201 Made it", TEXT)
        yield b"lazy"

    with serving(app, interface, loop) as served:
        response = served.ask(GET)
    assert (response.status, response.reason, response.body) == (201, "Made it", b"lazy")


def test_exc_info_replaces_a_head_that_is_not_sent_and_raises_after(interface: str, loop: str) -> None:
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        if environ["PATH_INFO"] == "/after":
            yield b"part"
        try:
            _ = 1 / int(environ["QUERY_STRING"] or 0)
        except ZeroDivisionError as exc:
            try:
                start_response("503 Sorry", TEXT, (type(exc), exc, exc.__traceback__))
            except ZeroDivisionError as again:
                raised.append(again)
                raise
        yield b"sorry"

    with serving(app, interface, loop) as served:
        response = served.ask(GET)
        assert (response.status, response.body) == (503, b"sorry")
        response = served.ask(GET.replace(b"/ ", b"/after "))
        assert (response.body, response.is_complete) == (b"part", False)
        wait_until(lambda: len(raised) == 1)


@pytest.mark.parametrize("path", ["/list", "/lazy", "/raise", "/raise-late", "/no-start", "/long", "/text"])
def test_close_is_called_once_whatever_happens(interface: str, loop: str, path: str) -> None:
    results: list[Closing] = []

    def chunks(environ: Environ, start_response: Any) -> Iterator[Any]:
        if path != "/no-start":
            start_response("200 OK", [*TEXT, ("Content-Length", "4")] if path == "/long" else TEXT)
        if path == "/raise":
            raise ZeroDivisionError
        yield "text" if path == "/text" else b"abc"
        if path == "/raise-late":
            raise ZeroDivisionError
        yield b"def"

    def app(environ: Environ, start_response: Any) -> Closing:
        result = Closing(chunks(environ, start_response))
        results.append(result)
        return result

    with serving(app, interface, loop) as served:
        client = served.connect()
        client.send(GET)
        data = client.read_until(b"\r\n\r\n")
        wait_until(lambda: bool(results) and results[0].closed > 0)
    status = 200 if path in ("/list", "/lazy", "/raise-late", "/long") else 500
    assert data.startswith(b"HTTP/1.1 %d " % status)
    assert results[0].closed == 1


def call_failing(environ: Environ, start_response: Any) -> list[bytes]:
    raise ZeroDivisionError("the app's own")


def call_twice(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b""]


def start_with(status: str, *headers: Any) -> Callable[[Environ, Any], list[bytes]]:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response(status, list(headers))
        return [b"four"]

    return app


@pytest.mark.parametrize(
    "app",
    [
        call_failing,
        call_twice,
        lambda environ, start_response: [b"no start"],
        lambda environ, start_response: None,
        start_with("OK"),
        start_with("200 OK\r\nX: y"),
        start_with("200 OK", ("X", "a\nb")),
        start_with("200 OK", ("X", "a\0")),
        start_with("200 OK", ("X:", "a")),
        start_with("200 OK", ("X", "\u2020")),
        start_with("200 OK", ("X", 3)),
        start_with("200 OK", ("Content-Length", "5")),
        start_with("200 OK", ("Content-Length", "3")),
    ],
)
def test_a_failing_app_is_a_500_and_the_connection_goes_on(
    interface: str, loop: str, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(app, interface, loop) as served:
        client = served.connect()
        for _ in range(2):
            response = client.ask(GET)
            assert (response.status, response.body) == (500, b"Internal Server Error")
            assert response.get("connection") is None
            assert caplog.records[-1].levelno == logging.ERROR


def test_a_status_needs_no_reason(interface: str, loop: str) -> None:
    with serving(start_with("299"), interface, loop) as served:
        response = served.ask(GET)
    assert (response.status, response.reason, response.body) == (299, "", b"four")


def test_context_variables_do_not_leak_between_requests(interface: str, loop: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[str] = []

    def app(environ: Environ, start_response: Any) -> Any:
        seen.append(variable.get("unset"))
        variable.set("set")
        start_response("200 OK", TEXT)
        if environ["PATH_INFO"] == "/list":
            return [b"x"]
        return inner()

    def inner() -> Iterator[bytes]:
        yield b"x"
        assert variable.get() == "set"
        yield b"y"

    with serving(app, interface, loop) as served:
        client = served.connect()
        paths = (b"/list ", b"/list ", b"/lazy ", b"/list ")
        for path in paths:
            assert client.ask(GET.replace(b"/ ", path)).is_complete
        client.send(b"".join(GET.replace(b"/ ", path) for path in paths))  # pipelined: one begins the next
        for _ in paths:
            assert client.read_response().is_complete
    assert seen == ["unset"] * 8


@pytest.mark.parametrize("what", ["start_response", "write"])
def test_what_is_kept_of_a_call_never_reaches_another_response(interface: str, loop: str, what: str) -> None:
    kept: list[Any] = []
    errors: list[BaseException] = []

    def try_kept(*arguments: Any) -> None:
        for old in kept:
            try:
                old(*arguments)
            except RuntimeError as exc:
                errors.append(exc)

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        if what == "start_response":
            try_kept("500 Mine", [])
            kept.append(start_response)
        write = start_response("200 OK", TEXT)
        if what == "write":
            try_kept(b"not mine")
            kept.append(write)
        return [b"mine"]

    with serving(app, interface, loop) as served:
        client = served.connect()
        assert [client.ask(GET).body for _ in range(3)] == [b"mine"] * 3
    assert len(errors) == 3


def test_what_an_app_does_to_its_environ_is_not_told_to_the_next_request(interface: str, loop: str) -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        seen.append({key: value for key, value in environ.items() if key[:5] != "wsgi."})
        headers = list(TEXT)
        start_response("200 OK", headers)
        headers.append(("X-Not", "sent"))
        for key in list(environ):
            environ[key] = environ[f"not.{key}"] = "spoilt"
        environ.pop("PATH_INFO")
        return [b"x"]

    with serving(app, interface, loop) as served:
        client = served.connect()
        other = b"POST /b%20c?d HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
        client.ask(GET.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n"))
        assert seen.pop()["SERVER_PROTOCOL"] == "HTTP/1.0"
        for _ in range(2):
            for data in (GET, GET, GET.replace(b"GET", b"PUT"), other, GET.replace(b"/ ", b"/e?f "), other):
                assert client.ask(data).get("x-not") is None
    asked = [(env["REQUEST_METHOD"], env["PATH_INFO"], env["QUERY_STRING"]) for env in seen]
    post = ("POST", "/b c", "d")
    assert asked == [("GET", "/", ""), ("GET", "/", ""), ("PUT", "/", ""), post, ("GET", "/e", "f"), post] * 2
    assert seen[:6] == seen[6:]
    assert all("spoilt" not in env.values() for env in seen)
    assert [env.get("CONTENT_LENGTH") for env in seen[:6]] == [None, None, None, "1", None, "1"]


def test_half_sent_requests_hold_up_nobody(interface: str, loop: str) -> None:
    with serving(start_with("200 OK"), interface, loop) as served:
        slow = [served.connect() for _ in range(300)]
        for number, client in enumerate(slow):
            client.send(post(b"x" * 10)[:-5] if number % 2 else GET[:-5])
        assert served.ask(GET).body == b"four"
        for number, client in enumerate(slow):
            client.send(post(b"x" * 10)[-5:] if number % 2 else GET[-5:])
        assert [client.read_response().body for client in slow] == [b"four"] * 300


def test_the_client_is_asked_for_the_body_that_it_announced(interface: str, loop: str) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [environ["wsgi.input"].read()]

    with serving(app, interface, loop) as served:
        client = served.connect()
        client.send(post(b"", b"Expect: 100-continue").replace(b"Length: 0", b"Length: 4"))
        assert client.read_response().status == 100
        assert client.ask(b"body").body == b"body"


def test_a_chunk_is_on_its_way_before_the_next_is_asked_for(interface: str, loop: str) -> None:
    if interface != "wsgi":
        pytest.skip("the loop is what is tested")
    release = threading.Event()

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"first"
        assert release.wait(5)  # blocks the loop: what is not sent by now does not come
        yield b"second"

    with serving(app, interface, loop) as served:
        client = served.connect()
        client.send(GET)
        client.read_until(b"first\r\n")
        release.set()
        assert client.read_until(b"0\r\n\r\n") == b"6\r\nsecond\r\n0\r\n\r\n"


def test_a_body_is_with_its_client_before_the_app_is_asked_for_the_end_of_it(
    interface: str, loop: str
) -> None:
    if interface != "wsgi":
        pytest.skip("the loop is what is tested")
    release = threading.Event()

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT, ("Content-Length", "5")])
        yield b"whole"
        assert release.wait(5)  # blocks the loop
        yield b""

    with serving(app, interface, loop) as served:
        client = served.connect()
        assert client.ask(GET).body == b"whole"
        client.send(GET)
        release.set()
        assert client.read_response().body == b"whole"


@pytest.mark.parametrize("by", ["iterable", "write", "file"])
def test_a_slow_client_holds_the_app_back_and_gets_everything(interface: str, loop: str, by: str) -> None:
    size, count = 50_000, 400
    given = 0

    class File:
        left = count

        def read(self, size_bytes: int) -> bytes:
            nonlocal given
            given += size if self.left else 0
            self.left -= 1
            return b"x" * size if self.left >= 0 else b""

    def app(environ: Environ, start_response: Any) -> Any:
        nonlocal given
        write = start_response("200 OK", TEXT)
        if by == "file":
            return environ["wsgi.file_wrapper"](File(), size)
        if by == "write":
            for _ in range(count):
                write(b"x" * size)
                given += size
            return [b"end"]
        return chunks()

    def chunks() -> Iterator[bytes]:
        nonlocal given
        for _ in range(count):
            yield b"x" * size
            given += size

    with serving(app, interface, loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        client.send(GET)
        client.read_until(b"\r\n\r\n")
        if interface == "wsgi" and by == "write":
            wait_until(lambda: given == size * count)  # what cannot be held back goes to a file
        else:
            wait_until(lambda: given > 1_000_000)
            assert given < 12_000_000
        if interface == "wsgi" and by != "write":
            other = served.connect()
            other.send(GET)  # waits for the lane; the loop itself is free
            assert served.call(lambda: 7) == 7
            other.close()
        body, complete = client._read_chunks()
        assert (len(body), complete) == (size * count + (3 if by == "write" else 0), True)


def test_a_client_that_goes_away_frees_the_app(interface: str, loop: str) -> None:
    results: list[Closing] = []

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 10000

    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        if environ["PATH_INFO"] == "/short":
            return [b"short"]
        result = Closing(endless())
        results.append(result)
        return result

    with serving(app, interface, loop) as served:
        client = served.connect()
        client.send(GET)
        client.read_until(b"\r\n\r\n")
        client.close()
        wait_until(lambda: bool(results) and results[0].closed == 1)
        assert served.ask(GET.replace(b"/ ", b"/short ")).body == b"short"


@pytest.mark.parametrize("spoken", [b"", b"at last"])
def test_an_app_that_has_nothing_more_to_say_yet_holds_nobody_up(
    interface: str, loop: str, spoken: bytes
) -> None:
    asked = threading.Event()

    def silent() -> Iterator[bytes]:
        yield spoken
        while not asked.is_set():
            yield b""
        yield b"at last"[len(spoken) :]

    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", [*TEXT, ("Content-Length", "7")])
        return silent()

    with serving(app, interface, loop) as served:
        client = served.connect()
        client.send(GET)
        wait_until(lambda: served.call(lambda: served.service.counters.in_flight) == 1)
        asked.set()
        assert client.read_response().body == b"at last"
        assert client.ask(GET).body == b"at last"


def test_early_hints_come_before_the_response_and_never_after_it(interface: str, loop: str) -> None:
    kept: list[Any] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        for hints in kept:
            hints([("Link", "</other>; rel=preload")])
        kept.append(environ["wsgi.early_hints"])
        kept[-1]([("Link", "</a.css>; rel=preload"), ("X-Why", "it is needed")])
        kept[-1]([])
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            kept[-1]([("Link", "a\r\nSet-Cookie: b")])
        start_response("200 OK", TEXT)
        return [b"x"]

    with serving(app, interface, loop) as served:
        client = served.connect()
        hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Why: it is needed\r\n\r\n"
        for _ in range(2):
            client.send(GET)
            assert client.read_until(b"\r\n\r\n") == hint
            assert client.read_response().body == b"x"
        old = served.connect()
        old.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert old.read_response().body == b"x"


def test_a_client_that_takes_nothing_frees_the_lane(
    interface: str, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if interface != "wsgi":
        pytest.skip("the loop is what is tested")
    results: list[Closing] = []

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 10000

    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        if environ["PATH_INFO"] == "/short":
            return [b"short"]
        results.append(Closing(endless()))
        return results[-1]

    with serving(app, interface, loop) as served:
        monkeypatch.setattr(served.service, "stall_s", 0.2)
        client = served.connect()
        client.send(GET)
        other = served.connect()
        wait_until(lambda: bool(results))
        other.send(GET.replace(b"/ ", b"/short "))
        assert other.read_response().body == b"short"
        assert results[0].closed == 1


def test_threads_serve_at_the_same_time(interface: str, loop: str) -> None:
    if interface != "wsgi-threads":
        pytest.skip("the pool is what is tested")
    together = threading.Barrier(3, timeout=5)

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        together.wait()
        start_response("200 OK", TEXT)
        return [b"met"]

    with serving(app, interface, loop) as served:
        clients = [served.connect() for _ in range(3)]
        for client in clients:
            client.send(GET)
        assert [client.read_response().body for client in clients] == [b"met"] * 3


def test_pipelined_requests_are_answered_in_order(interface: str, loop: str) -> None:
    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        path = environ["PATH_INFO"].encode()
        return [path] if path.endswith(b"1") else iter([path])

    with serving(app, interface, loop) as served:
        client = served.connect()
        count = 300
        client.send(b"".join(b"GET /%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in range(count)))
        assert [client.read_response().body for _ in range(count)] == [b"/%d" % n for n in range(count)]
