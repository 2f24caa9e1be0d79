"""A TLS connection behaves as a plain one does: half-close, backpressure both ways, nothing lost at its end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest

from prefork.config.model import Interface
from prefork.serve.opening import open_service
from prefork.serve.service import Service
from prefork.serve.settings import ServeSettings
from prefork.serve.tls_facts import Tls
from tests.certificates import make_client_context, make_server_context
from tests.serve.accepting import LOOPS, Run, accepting, run_on, wait_until

T = TypeVar("T")

DEADLINE_S = 8.0
BIG = bytes(range(256)) * 20_000
"""More than all buffers on the way hold."""


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda test: run_on(request.param, test)


def open_tls(
    app: Any, interface: Interface, version: ssl.TLSVersion | None = None, **settings: Any
) -> Service:
    context = make_server_context()
    if version is not None:
        context.maximum_version = version
    loop = asyncio.get_running_loop()
    return open_service(app, interface, ServeSettings(**settings), loop, Tls(context, ""))


async def talk(connect: Callable[..., Any], talking: Callable[[ssl.SSLSocket], T]) -> T:
    """Run a blocking client, as most are, in a thread."""
    _, writer = await connect()
    address = writer.transport.get_extra_info("socket").getpeername()
    writer.close()

    def run_client() -> T:
        with socket.create_connection(address, DEADLINE_S) as sock:
            secure = make_client_context().wrap_socket(sock, server_hostname="localhost")
            with secure:
                return talking(secure)

    return await asyncio.to_thread(run_client)


def read_all(client: ssl.SSLSocket) -> bytes:
    """Until the server's close_notify; an end without one, or a reset, raises."""
    vars(client)["suppress_ragged_eofs"] = False
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def read_once(client: ssl.SSLSocket) -> bytes:
    return client.recv(65536)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_all_that_was_written_arrives_and_then_the_end_is_said(run: Run, version: ssl.TLSVersion) -> None:
    async def app(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BIG)
        writer.writelines([b"a", b"", b"b"])

    async def test() -> None:
        async with accepting(open_tls(app, "stream", version)) as connect:
            assert await talk(connect, read_all) == BIG + b"ab"

    run(test())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handler_may_end_its_side_and_read_on(run: Run, version: ssl.TLSVersion) -> None:
    heard = []

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready")
        writer.write_eof()
        heard.append(await reader.read())

    def client(secure: ssl.SSLSocket) -> bytes:
        said = read_all(secure)
        secure.sendall(b"still here")
        return said

    async def test() -> None:
        async with accepting(open_tls(app, "stream", version)) as connect:
            assert await talk(connect, client) == b"ready"
            await wait_until(lambda: b"still here" in heard)

    run(test())


def test_a_client_that_leaves_without_a_word_has_ended(run: Run) -> None:
    heard = []

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        heard.append(await reader.read())

    def client(secure: ssl.SSLSocket) -> None:
        secure.sendall(b"bye")
        read_once(secure)
        socket.socket.shutdown(secure, socket.SHUT_WR)
        while secure.recv(65536):
            pass

    async def test() -> None:
        async with accepting(open_tls(app, "stream")) as connect:
            await talk(connect, client)
            await wait_until(lambda: b"bye" in heard)

    run(test())


def test_a_client_that_does_not_read_holds_the_writer_back(run: Run) -> None:
    async def test() -> None:
        sent = 0
        may_read = asyncio.Event()

        async def app(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            while sent < 64:
                writer.write(bytes(1 << 20))
                sent += 1
                try:
                    await asyncio.wait_for(writer.drain(), 0.3)
                except asyncio.TimeoutError:
                    may_read.set()
                    return

        loop = asyncio.get_running_loop()

        def client(secure: ssl.SSLSocket) -> int:
            asyncio.run_coroutine_threadsafe(may_read.wait(), loop).result(DEADLINE_S)
            return len(read_all(secure))

        async with accepting(open_tls(app, "stream")) as connect:
            assert await talk(connect, client) == sent << 20
            assert sent < 64

    run(test())


def test_a_handler_that_does_not_read_stops_the_client(run: Run) -> None:
    async def test() -> None:
        may_read = asyncio.Event()
        heard: list[int] = []

        async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await may_read.wait()
            size = 0
            while data := await reader.read(1 << 20):
                size += len(data)
            heard.append(size)
            writer.close()

        loop = asyncio.get_running_loop()

        def client(secure: ssl.SSLSocket) -> bytes:
            secure.settimeout(0.3)
            sent = 0
            piece = bytes(1 << 14)
            try:
                while sent < 64 << 20:
                    sent += secure.send(piece)
            except TimeoutError:
                pass
            assert sent < 64 << 20, "nobody stopped it"
            secure.settimeout(DEADLINE_S)
            loop.call_soon_threadsafe(may_read.set)
            secure.sendall(piece)  # OpenSSL wants the same bytes again after a timeout
            sent += len(piece)
            secure.unwrap()
            return b"%d" % sent

        async with accepting(open_tls(app, "stream")) as connect:
            sent = int(await talk(connect, client))
            await wait_until(lambda: heard == [sent])

    run(test())


def test_who_has_paused_is_given_nothing_until_it_resumes(run: Run) -> None:
    """Several records came at once; each is for whoever reads at that moment."""
    heard: list[bytes] = []
    paused: list[asyncio.Transport] = []
    transports: list[asyncio.Transport] = []

    class App(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)
            transports.append(self.transport)

        def data_received(self, data: bytes) -> None:
            heard.append(data)
            self.transport.pause_reading()
            assert not self.transport.is_reading()
            paused.append(self.transport)

    def client(secure: ssl.SSLSocket) -> bytes:
        secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # all of them in one segment
        for word in (b"one", b"two", b"three"):
            secure.sendall(word)
        secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        return secure.recv(1)

    async def test() -> None:
        async with accepting(open_tls(App, "protocol")) as connect:
            talking = asyncio.ensure_future(talk(connect, client))
            for number, word in enumerate((b"one", b"two", b"three"), 1):
                await wait_until(lambda number=number: len(heard) >= number)  # type: ignore[misc]
                for _ in range(20):
                    await asyncio.sleep(0)
                assert heard[number - 1 :] == [word]
                paused.pop().resume_reading()
            transports[0].close()
            assert await talking == b""

    run(test())


def test_an_unread_body_never_costs_the_answer(run: Run) -> None:
    """The client sends all of a body that is refused at once, and only then reads."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    body = bytes(4 << 20)

    def client(secure: ssl.SSLSocket) -> bytes:
        secure.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 65536):
            secure.sendall(body[at : at + 65536])
        return read_all(secure)

    async def test() -> None:
        service = open_tls(app, "asgi", limit_request_body_bytes=1000)
        async with accepting(service) as connect:
            for _ in range(5):
                assert (await talk(connect, client)).startswith(b"HTTP/1.1 413 ")

    run(test())


def test_requests_in_one_record_are_all_answered(run: Run) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    def client(secure: ssl.SSLSocket) -> bytes:
        one = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
        secure.sendall(b"".join(one % n for n in range(40)) + one[:-2] % 40 + b"Connection: close\r\n\r\n")
        return read_all(secure)

    async def test() -> None:
        async with accepting(open_tls(app, "wsgi")) as connect:
            answer = await talk(connect, client)
            assert [b"/%d" % n in answer for n in range(41)] == [True] * 41
            assert answer.count(b"HTTP/1.1 200 OK\r\n") == 41

    run(test())


def test_bytes_that_are_not_tls_any_more_end_the_connection(run: Run) -> None:
    ended = []

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        try:
            await reader.read()
        finally:
            ended.append(writer.transport.get_protocol())

    def client(secure: ssl.SSLSocket) -> None:
        read_once(secure)
        socket.socket.send(secure, b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises((OSError, EOFError)):
            assert read_all(secure) == b"what cannot be"

    async def test() -> None:
        async with accepting(open_tls(app, "stream")) as connect:
            await talk(connect, client)
            await wait_until(lambda: ended == [None])

    run(test())


def test_a_session_is_resumed_by_another_with_the_same_context(run: Run) -> None:
    """As the workers of a generation have: they inherit it from their zygote, with the keys of its tickets."""

    async def app(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")

    async def test() -> None:
        service = open_tls(app, "stream")
        async with accepting(service) as connect:
            _, writer = await connect()
            address = writer.transport.get_extra_info("socket").getpeername()
            writer.close()
            context = make_client_context()

            def clients() -> list[bool]:
                session, reused = None, []
                for _ in range(2):
                    with socket.create_connection(address, DEADLINE_S) as sock:
                        secure = context.wrap_socket(sock, server_hostname="localhost", session=session)
                        with secure:
                            read_all(secure)
                            session = secure.session
                            reused.append(bool(secure.session_reused))
                return reused

            assert await asyncio.to_thread(clients) == [False, True]

    run(test())
