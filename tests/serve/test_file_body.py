"""Files over real sockets, by `http.response.pathsend` and `wsgi.file_wrapper`: whole, clipped, cut, and paced."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from prefork.serve.entrance import Entrance
from prefork.serve.file_body import FileBody
from prefork.serve.settings import ServeSettings
from prefork.serve.tls_facts import Tls
from tests.certificates import make_client_context, make_server_context
from tests.serve.serving import GET, HOST, Client, Served, serving, wait_until

pytestmark = [
    pytest.mark.parametrize("loop", ["uvloop", "asyncio"]),
    pytest.mark.parametrize("interface", ["asgi", "wsgi", "wsgi-threads"]),
]

SIZES = (0, 1, 10_000, 65536, 65537, 3_000_001)
BIG = 20_000_000


def make_bytes(size: int) -> bytes:
    block = bytes(range(256)) * 16 + b"not a power of two"
    return (block * (size // len(block) + 1))[:size]


class Files:
    """An app that answers with a file, in either interface; what it opened and what it was told."""

    def __init__(self, path: Path, *, length: int | None = None, start: int = 0, status: int = 200) -> None:
        self.path = path
        self.length = length
        self.start = start
        self.status = status
        self.opened: list[Any] = []
        self.raised: list[BaseException] = []
        self.before: Callable[[], None] = lambda: None
        self.open: Callable[[], Any] = lambda: path.open("rb")

    def app(self, interface: str) -> Any:
        return self.asgi if interface == "asgi" else self.wsgi

    async def asgi(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        headers = [] if self.length is None else [(b"content-length", b"%d" % self.length)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        self.before()
        try:
            await send({"type": "http.response.pathsend", "path": str(self.path)})
        except BaseException as exc:
            self.raised.append(exc)
            raise

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/short":
            start_response("200 OK", [])
            return [b"short"]
        headers = [] if self.length is None else [("Content-Length", str(self.length))]
        start_response(f"{self.status} Said", headers)
        file = self.open()
        self.opened.append(file)
        file.seek(self.start)
        self.before()
        return environ["wsgi.file_wrapper"](file, 50_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.bin"


def list_open(path: Path) -> list[Path]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed while we look
            if fd.readlink() == path:
                found.append(fd)
    return found


def wait_closed(path: Path) -> None:
    wait_until(lambda: not list_open(path), "the file stays open")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
def test_a_file_of_any_size_arrives_whole_with_its_length(
    interface: str, loop: str, path: Path, family: int
) -> None:
    files = Files(path)
    with serving(files.app(interface), interface, loop, family=family) as served:
        client = served.connect()
        for size in SIZES:
            data = make_bytes(size)
            path.write_bytes(data)
            for _ in range(2):
                response = client.ask(GET)
                assert (response.status, response.get("content-length")) == (200, str(size))
                assert response.body == data
            wait_closed(path)
    assert all(file.closed for file in files.opened)


def test_no_more_than_the_content_length_is_sent(interface: str, loop: str, path: Path) -> None:
    data = make_bytes(500_000)
    path.write_bytes(data)
    for length in (0, 1000, 300_000):
        with serving(Files(path, length=length).app(interface), interface, loop) as served:
            client = served.connect()
            for _ in range(2):
                assert client.ask(GET).body == data[:length]


def test_a_file_is_sent_from_its_position(interface: str, loop: str, path: Path) -> None:
    if interface == "asgi":
        pytest.skip("a path has no position")
    data = make_bytes(500_000)
    path.write_bytes(data)
    for start in (7, 400_000, 499_990, 500_000, 600_000):
        files = Files(path, start=start)
        files.before = lambda files=files: files.opened[-1].read(3)  # type: ignore[misc]  # buffers far ahead
        with serving(files.wsgi, interface, loop) as served:
            assert served.ask(GET).body == data[start + 3 :]


@pytest.mark.parametrize("size", [100, 500_000])
def test_a_file_shorter_than_promised_is_a_500(
    interface: str, loop: str, path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(make_bytes(size))
    files = Files(path, length=size + 1)
    with serving(files.app(interface), interface, loop) as served:
        client = served.connect()
        assert [client.ask(GET).status for _ in range(2)] == [500, 500]
    wait_closed(path)
    assert f"Content-Length is {size + 1}" in caplog.text


def test_a_file_cut_short_meanwhile_cuts_the_connection(
    interface: str, loop: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(make_bytes(BIG))
    files = Files(path)
    with serving(files.app(interface), interface, loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        client.send(GET)
        client.read_until(b"\r\n\r\n")
        os.truncate(path, 1_000_000)
        assert len(client.read_to_end()) < BIG
        wait_closed(path)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "too soon" in caplog.text


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", 200, "500000"), ("GET", 304, None), ("GET", 204, None)],
)
def test_what_has_no_body_sends_no_file(
    interface: str, loop: str, path: Path, method: str, status: int, length: str | None
) -> None:
    path.write_bytes(make_bytes(500_000))
    with serving(Files(path, status=status).app(interface), interface, loop) as served:
        client = served.connect()
        for _ in range(2):
            response = client.ask(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert (response.status, response.get("content-length")) == (status, length)
            assert response.get("transfer-encoding") is None
    wait_closed(path)


def test_a_slow_client_gets_everything_and_holds_up_nobody(interface: str, loop: str, path: Path) -> None:
    data = make_bytes(BIG)
    path.write_bytes(data)
    with serving(Files(path).app(interface), interface, loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        client.send(GET)
        client.read_until(b"\r\n\r\n")
        assert served.call(lambda: 7) == 7
        assert client.read_exactly(BIG) == data
        assert client.ask(GET).body == data
    wait_closed(path)


def test_a_stalled_client_costs_no_turns_of_the_loop(
    interface: str, loop: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    send_some = FileBody.send_some

    def count(body: FileBody) -> bool:
        nonlocal turns
        turns += 1
        return send_some(body)

    monkeypatch.setattr(FileBody, "send_some", count)
    path.write_bytes(make_bytes(BIG))
    with serving(Files(path).app(interface), interface, loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        client.send(GET)
        client.read_until(b"\r\n\r\n")
        wait_until(lambda: turns > 0)
        served.run(asyncio.sleep(0.3))
        before = turns
        served.run(asyncio.sleep(0.3))
        assert turns - before < 3


def test_a_client_that_leaves_frees_the_file(interface: str, loop: str, path: Path) -> None:
    path.write_bytes(make_bytes(BIG))
    files = Files(path)
    with serving(files.app(interface), interface, loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        client.send(GET)
        client.read_until(b"\r\n\r\n")
        assert list_open(path)
        client.close()
        wait_closed(path)
        if interface != "asgi":
            assert served.ask(GET.replace(b"/ ", b"/short ")).body == b"short"
    assert all(isinstance(exc, OSError) for exc in files.raised)


def test_a_client_that_takes_nothing_is_cut(
    interface: str, loop: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(make_bytes(BIG))
    with serving(Files(path).app(interface), interface, loop) as served:
        monkeypatch.setattr(served.service, "stall_s", 0.2)
        client = served.connect(receive_buffer_bytes=65536)
        client.send(GET)
        client.read_until(b"\r\n\r\n")
        wait_until(lambda: served.service.counters.connections == 0)
        wait_closed(path)
        assert len(client.read_to_end()) < BIG


def test_pipelined_files_come_in_order(interface: str, loop: str, path: Path) -> None:
    data = make_bytes(300_000)
    path.write_bytes(data)
    with serving(Files(path).app(interface), interface, loop) as served:
        client = served.connect()
        client.send(GET * 20)
        assert all(client.read_response().body == data for _ in range(20))


def test_http_1_0_gets_a_length_too(interface: str, loop: str, path: Path) -> None:
    data = make_bytes(300_000)
    path.write_bytes(data)
    with serving(Files(path).app(interface), interface, loop) as served:
        client = served.connect()
        response = client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (response.get("connection"), response.body) == ("keep-alive", data)
        assert client.ask(b"GET / HTTP/1.0\r\n\r\n").body == data
        assert client.is_closed()


def test_the_kernel_copies_what_the_socket_takes(
    interface: str, loop: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    sendfile = os.sendfile

    def count(*args: Any) -> int:
        copied.append(sendfile(*args))
        return copied[-1]

    path.write_bytes(make_bytes(BIG))
    monkeypatch.setattr(os, "sendfile", count)
    with serving(Files(path).app(interface), interface, loop) as served:
        assert len(served.ask(GET).body) == BIG
    assert sum(copied) > BIG // 2


def test_where_the_kernel_declines_blocks_are_written(
    interface: str, loop: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def decline(*_args: Any) -> int:
        calls.append(1)
        raise OSError(22, "declined")

    data = make_bytes(3_000_001)
    path.write_bytes(data)
    monkeypatch.setattr(os, "sendfile", decline)
    with serving(Files(path).app(interface), interface, loop) as served:
        assert served.ask(GET).body == data
    assert len(calls) == 1


@pytest.mark.parametrize("size", [10_000, 3_000_001, BIG])
def test_over_tls_blocks_are_written(interface: str, loop: str, path: Path, size: int) -> None:
    data = make_bytes(size)
    path.write_bytes(data)
    ours, theirs = socket.socketpair()
    with serving(Files(path).app(interface), interface, loop) as served, theirs:
        behind = Entrance(
            served.service, ServeSettings(), served.loop, Tls(make_server_context(), ""), speaks_http=True
        )
        connecting = asyncio.run_coroutine_threadsafe(
            served.loop.connect_accepted_socket(behind.open_connection, ours), served.loop
        )
        trusting = make_client_context()
        trusting.check_hostname = False
        theirs.settimeout(10)
        client = Client(trusting.wrap_socket(theirs))
        connecting.result(10)
        for _ in range(2):
            response = client.ask(GET)
            assert (response.get("content-length"), response.body) == (str(size), data)
        client.close()


@pytest.mark.parametrize("kind", ["gzip", "memory", "pipe"])
def test_what_is_no_plain_file_is_iterated_over(interface: str, loop: str, path: Path, kind: str) -> None:
    if interface == "asgi":
        pytest.skip("a path is always a file")
    data = make_bytes(300_000)
    path.write_bytes(gzip.compress(data))
    files = Files(path, length=200_000)

    def make() -> Any:
        if kind == "gzip":
            return gzip.open(path)
        if kind == "memory":
            return io.BytesIO(data)
        return Unseekable(data)

    files.open = make
    with serving(files.wsgi, interface, loop) as served:
        client = served.connect()
        for _ in range(2):
            response = client.ask(GET)
            assert (response.is_complete, response.body) == (True, data[:200_000])
    assert all(file.closed for file in files.opened)


class Unseekable(io.RawIOBase):
    """Only `read` and `close`, as of a pipe."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)

    def seek(self, *_args: Any) -> int:
        return 0


def test_what_write_gave_comes_before_the_file(interface: str, loop: str, path: Path) -> None:
    if interface == "asgi":
        pytest.skip("there is no write()")
    data = make_bytes(2_000_000)
    path.write_bytes(data)

    def app(environ: Any, start_response: Any) -> Any:
        headers = [("Content-Length", str(len(data) * 2))] if environ["PATH_INFO"] == "/length" else []
        start_response("200 OK", headers)(data)
        return environ["wsgi.file_wrapper"](path.open("rb"))

    with serving(app, interface, loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        for target in (b"/length ", b"/chunked "):
            response = client.ask(GET.replace(b"/ ", target))
            assert (response.is_complete, response.body) == (True, data * 2)
    wait_closed(path)


@pytest.mark.parametrize("what", ["missing", "directory", "fifo", "relative", "late"])
def test_a_path_that_cannot_be_sent_is_a_500(interface: str, loop: str, path: Path, what: str) -> None:
    if interface != "asgi":
        pytest.skip("WSGI apps open files themselves")
    files = Files(path)
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "relative":
        files.path = Path(os.path.relpath(path))
        path.write_bytes(b"there")
    with serving(files.asgi, interface, loop) as served:
        client = served.connect()
        assert [client.ask(GET).status for _ in range(2)] == [500, 500]
    assert len(files.raised) == 2


def test_a_path_after_a_part_of_the_body_is_the_rest_of_it(interface: str, loop: str, path: Path) -> None:
    if interface != "asgi":
        pytest.skip("ASGI's message")
    data = make_bytes(500_000)

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"400004")] if scope["path"] == "/length" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await send({"type": "http.response.pathsend", "path": str(path)})

    with serving(app, interface, loop) as served:
        client = served.connect()
        path.write_bytes(data)
        assert client.ask(GET.replace(b"/ ", b"/length ")).body == b"part" + data[:400_000]
        assert client.ask(GET).body == b"part" + data
        path.write_bytes(b"")
        assert client.ask(GET).body == b"part"


def ask_others(served: Served, count: int) -> list[Client]:
    clients = [served.connect() for _ in range(count)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    return clients


def test_many_at_once_all_get_their_file(interface: str, loop: str, path: Path) -> None:
    data = make_bytes(3_000_001)
    path.write_bytes(data)
    with serving(Files(path).app(interface), interface, loop) as served:
        assert all(client.read_response().body == data for client in ask_others(served, 8))
    wait_closed(path)
