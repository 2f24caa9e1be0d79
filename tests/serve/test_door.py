"""Between accept and the first byte of the app's protocol: on both loops, for all four interfaces."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import make_client_context
from tests.serve.accepting import LOOPS, Run, accepting, read_all, run_on, wait_until
from tests.serve.introducing import APPS, GET, HTTP, ask, end, make_tls, open_app, start_tls

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
CLIENT = ("192.0.2.1", 56324)
LINE6 = b"PROXY TCP6 2001:db8::1 ::1 4000 443\r\n"


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda test: run_on(request.param, test)


# The PROXY protocol.


@pytest.mark.parametrize("kind", APPS)
def test_the_client_is_who_the_header_says(run: Run, kind: str) -> None:
    async def test() -> None:
        async with accepting(open_app(kind, proxy_protocol=True)) as connect:
            assert (await ask(connect, kind, before=LINE))["peer"] == list(CLIENT)
            assert (await ask(connect, kind, before=LINE6))["peer"] == ["2001:db8::1", 4000]
            own = (await ask(connect, kind, before=b"PROXY UNKNOWN\r\n"))["peer"]
            assert own[0] == "127.0.0.1"

    run(test())


@pytest.mark.parametrize("kind", APPS)
def test_a_header_in_single_bytes_is_the_same(run: Run, kind: str) -> None:
    async def test() -> None:
        async with accepting(open_app(kind, proxy_protocol=True)) as connect:
            reader, writer = await connect()
            writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = GET if kind in HTTP else b"hello"
            for byte in LINE + request:
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            if kind not in HTTP:
                end(writer)
            assert b"192.0.2.1" in await read_all(reader)

    run(test())


@pytest.mark.parametrize("kind", ["asgi", "stream"])
def test_a_trusted_peer_without_a_header_is_closed_unanswered(run: Run, kind: str) -> None:
    async def test() -> None:
        async with accepting(open_app(kind, proxy_protocol=True)) as connect:
            reader, writer = await connect()
            writer.write(GET)
            assert await read_all(reader) == b""

    run(test())


def test_an_untrusted_peers_header_is_bad_http(run: Run) -> None:
    async def test() -> None:
        service = open_app("asgi", proxy_protocol=True, forwarded_allow_ips=("10.0.0.0/8",))
        async with accepting(service) as connect:
            reader, writer = await connect()
            writer.write(LINE + GET)
            assert (await read_all(reader)).startswith(b"HTTP/1.1 400 ")
            assert (await ask(connect, "asgi"))["peer"][0] == "127.0.0.1"

    run(test())


def test_peers_on_a_unix_socket_are_trusted_as_unix(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        async with accepting(open_app("asgi", proxy_protocol=True), tmp_path / "s") as connect:
            assert (await ask(connect, "asgi", before=LINE))["peer"] == list(CLIENT)
            assert (await ask(connect, "asgi", before=b"PROXY UNKNOWN\r\n"))["peer"] is None

    run(test())


def test_a_header_that_does_not_come_is_not_waited_for(run: Run) -> None:
    async def test() -> None:
        async with accepting(open_app("asgi", proxy_protocol=True, header_timeout_s=0.05)) as connect:
            silent, _ = await connect()
            half, writer = await connect()
            writer.write(LINE[:10])
            assert [await read_all(silent), await read_all(half)] == [b"", b""]

    run(test())


# TLS.


@pytest.mark.parametrize("kind", APPS)
def test_the_app_speaks_through_tls(run: Run, kind: str) -> None:
    async def test() -> None:
        async with accepting(open_app(kind, make_tls())) as connect:
            said = await ask(connect, kind, secure=make_client_context())
            assert said["peer"][0] == "127.0.0.1"
            assert said.get("scheme", "https") == "https"

    run(test())


@pytest.mark.parametrize("kind", APPS)
def test_a_header_may_come_before_tls(run: Run, kind: str) -> None:
    async def test() -> None:
        async with accepting(open_app(kind, make_tls(), proxy_protocol=True)) as connect:
            said = await ask(connect, kind, before=LINE, secure=make_client_context())
            assert said["peer"] == list(CLIENT)

    run(test())


def test_an_asgi_app_is_told_of_tls_and_of_the_client(run: Run) -> None:
    async def test() -> None:
        async with accepting(open_app("asgi", make_tls(verify=ssl.CERT_OPTIONAL))) as connect:
            nobody = (await ask(connect, "asgi", secure=make_client_context()))["tls"]
            alice = (await ask(connect, "asgi", secure=make_client_context(with_certificate=True)))["tls"]
        assert nobody["client_cert_name"] is None
        assert nobody["client_cert_chain"] == []
        assert nobody["tls_version"] == 0x0304
        assert nobody["cipher_suite"] in {0x1301, 0x1302, 0x1303}
        assert nobody["server_cert"].startswith("-----BEGIN CERTIFICATE-----\n")
        assert alice["client_cert_name"].startswith("CN=alice\\, the first,OU=")
        assert alice["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----\n")
        assert alice["client_cert_error"] is None

    run(test())


def test_a_wsgi_app_is_told_in_the_words_of_mod_ssl(run: Run) -> None:
    async def test() -> None:
        async with accepting(open_app("wsgi", make_tls(verify=ssl.CERT_OPTIONAL))) as connect:
            nobody = await ask(connect, "wsgi", secure=make_client_context())
            alice = await ask(connect, "wsgi", secure=make_client_context(with_certificate=True))
        assert (nobody["HTTPS"], nobody["SSL_CLIENT_VERIFY"]) == ("on", "NONE")
        assert "SSL_CLIENT_S_DN" not in nobody
        assert (alice["SSL_CLIENT_VERIFY"], alice["SSL_PROTOCOL"]) == ("SUCCESS", "TLSv1.3")
        assert alice["SSL_CLIENT_S_DN"].startswith("CN=alice\\, the first,")

    run(test())


def test_who_must_show_a_certificate_and_has_none_is_refused(run: Run) -> None:
    async def test() -> None:
        async with accepting(open_app("asgi", make_tls(verify=ssl.CERT_REQUIRED))) as connect:
            assert (await ask(connect, "asgi", secure=make_client_context(with_certificate=True)))["tls"]
            reader, writer = await connect()
            reader, writer = await start_tls(writer, make_client_context())
            writer.write(GET)
            assert await read_all(reader) == b""
            writer.close()

    run(test())


def test_plain_http_is_told_to_use_https_and_waits_for_no_reset(run: Run) -> None:
    async def test() -> None:
        async with accepting(open_app("asgi", make_tls())) as connect:
            reader, writer = await connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000))
            answer = await reader.read()  # a reset would raise
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"this port speaks HTTPS" in answer

    run(test())


@pytest.mark.parametrize(
    ("kind", "data"), [("asgi", b"\x80\x2e\x01"), ("asgi", b"ssh"), ("stream", b"GET / HTTP/1.1\r\n")]
)
def test_what_is_neither_is_closed(run: Run, kind: str, data: bytes) -> None:
    async def test() -> None:
        async with accepting(open_app(kind, make_tls())) as connect:
            reader, writer = await connect()
            writer.write(data)
            assert await read_all(reader) == b""

    run(test())


def test_bytes_that_are_no_handshake_cost_their_own_connection_only(run: Run) -> None:
    async def test() -> None:
        async with accepting(open_app("asgi", make_tls())) as connect:
            reader, writer = await connect()
            writer.write(b"\x16\x03\x01\x00\x05" + b"\xff" * 5)
            await read_all(reader)
            assert (await ask(connect, "asgi", secure=make_client_context()))["scheme"] == "https"

    run(test())


def test_silent_and_stalled_handshakes_end_in_time(run: Run) -> None:
    async def test() -> None:
        async with accepting(open_app("asgi", make_tls(), ssl_handshake_timeout_s=0.05)) as connect:
            silent, _ = await connect()
            stalled, writer = await connect()
            writer.write(b"\x16\x03\x01\x02")
            assert [await read_all(silent), await read_all(stalled)] == [b"", b""]

    run(test())


# The drain.


@pytest.mark.parametrize("secure", [False, True])
def test_who_waits_in_the_door_and_speaks_after_the_drain_is_answered(
    run: Run,
    secure: bool,
) -> None:
    async def test() -> None:
        service = open_app("asgi", make_tls() if secure else None, proxy_protocol=not secure)
        async with accepting(service) as connect:
            opened = [await connect()]
            await wait_until(lambda: len(vars(service)["_waiting"]) == 1)
            service.drain()
            drained = asyncio.ensure_future(service.wait_drained())
            await asyncio.sleep(0)
            assert not drained.done()

            async def reuse() -> Any:
                return opened.pop()

            said = await ask(
                reuse,
                "asgi",
                before=b"" if secure else LINE,
                secure=make_client_context() if secure else None,
            )
            assert said["scheme"] == ("https" if secure else "http")
            await drained

    run(test())


def test_a_drain_does_not_hang_on_the_silent(run: Run) -> None:
    async def test() -> None:
        service = open_app("asgi", make_tls(), keep_alive_s=0.05, ssl_handshake_timeout_s=60.0)
        async with accepting(service) as connect:
            reader, _ = await connect()
            await wait_until(lambda: len(vars(service)["_waiting"]) == 1)
            service.drain()
            await service.wait_drained()
            assert await read_all(reader) == b""

    run(test())


def test_cutting_ends_those_in_the_door_too(run: Run) -> None:
    async def test() -> None:
        service = open_app("asgi", make_tls())
        async with accepting(service) as connect:
            reader, _ = await connect()
            await wait_until(lambda: len(vars(service)["_waiting"]) == 1)
            assert service.cut() == 0
            assert await read_all(reader) == b""
            await service.wait_drained()

    run(test())


def test_without_either_there_is_no_door() -> None:
    async def test() -> None:
        assert type(open_app("asgi")).__name__ == "AsgiService"

    run_on(asyncio.new_event_loop, test())
