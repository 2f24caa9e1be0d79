"""Apps of all interfaces that say who they speak with, and a client that speaks to them, in the clear or by TLS."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from prefork.config.model import Interface
from prefork.serve.opening import open_service
from prefork.serve.service import Service
from prefork.serve.settings import ServeSettings
from prefork.serve.tls_facts import Tls
from tests.certificates import get_authority, get_server, make_server_context
from tests.serve.accepting import read_all

GET = b"GET /a HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    said = {"peer": scope["client"], "scheme": scope["scheme"], "tls": scope["extensions"].get("tls")}
    text = json.dumps({**said, "body": body.decode()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text})


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    peer = [environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"])] if environ["REMOTE_ADDR"] else None
    names = ("HTTPS", "SSL_CLIENT_VERIFY", "SSL_CLIENT_S_DN", "SSL_PROTOCOL")
    said = {"peer": peer, "scheme": environ["wsgi.url_scheme"]}
    variables = {name: environ[name] for name in names if name in environ}
    return [json.dumps({**said, **variables, "body": environ["wsgi.input"].read().decode()}).encode()]


async def stream_app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    heard = await reader.read()  # until the client has ended its side, which it does before it reads
    peer = writer.get_extra_info("peername")
    writer.write(json.dumps({"peer": peer and list(peer)[:2], "heard": heard.decode()}).encode())


class ProtocolApp(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def eof_received(self) -> bool:
        peer = self.transport.get_extra_info("peername")
        said = {"peer": peer and list(peer)[:2], "heard": self.heard.decode()}
        self.transport.write(json.dumps(said).encode())
        self.transport.close()
        return True


class BufferedApp(asyncio.BufferedProtocol):
    """Receives seven bytes at a time."""

    def __init__(self) -> None:
        self.inner = ProtocolApp()
        self.buffer = bytearray(7)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.inner.connection_made(transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.inner.data_received(bytes(self.buffer[:nbytes]))

    def eof_received(self) -> bool:
        return self.inner.eof_received()


APPS: dict[str, tuple[Any, Interface]] = {
    "asgi": (asgi_app, "asgi"),
    "wsgi": (wsgi_app, "wsgi"),
    "stream": (stream_app, "stream"),
    "protocol": (ProtocolApp, "protocol"),
    "buffered": (BufferedApp, "protocol"),
}
HTTP = ("asgi", "wsgi")
RELAYS: set[asyncio.Future[None]] = set()


def make_tls(*, verify: ssl.VerifyMode = ssl.CERT_NONE) -> Tls:
    context = make_server_context()
    context.verify_mode = verify
    if verify is not ssl.CERT_NONE:
        context.load_verify_locations(cadata=get_authority().cert_pem.bytes().decode())
    return Tls(context, get_server().cert_chain_pems[0].bytes().decode())


def open_app(kind: str, tls: Tls | None = None, **settings: Any) -> Service:
    app, interface = APPS[kind]
    loop = asyncio.get_running_loop()
    return open_service(app, interface, ServeSettings(**settings), loop, tls)


async def ask(
    connect: Callable[..., Any], kind: str, *, before: bytes = b"", secure: ssl.SSLContext | None = None
) -> dict[str, Any]:
    """What the app says of a connection that begins with these bytes, and then speaks its protocol."""
    reader, writer = await connect()
    writer.write(before)
    if secure is not None:
        reader, writer = await start_tls(writer, secure)
    writer.write(GET if kind in HTTP else b"hello, hello, hello")
    if kind not in HTTP:
        end(writer)
    data = await read_all(reader)
    writer.close()
    if kind in HTTP:
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), data
        if b"chunked" in head:
            body = b"".join(body.split(b"\r\n")[1::2])
    else:
        body = data
    said: dict[str, Any] = json.loads(body)
    return said


async def start_tls(
    writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Our side of TLS on a connection that has begun in the clear: a blocking client in a thread would do as well."""
    sock = writer.transport.get_extra_info("socket")
    raw = socket.socket(fileno=socket.dup(sock.fileno()))
    raw.setblocking(False)
    await writer.drain()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    cast("asyncio.Transport", writer.transport).pause_reading()
    relay = asyncio.ensure_future(Relay(raw, theirs, context).run())
    RELAYS.add(relay)
    relay.add_done_callback(RELAYS.discard)
    return await asyncio.open_connection(sock=ours)


class Relay:
    """Clear text on `inside`, TLS on `raw`. An end of file on one side is one on the other, and the rest goes on."""

    def __init__(self, raw: socket.socket, inside: socket.socket, context: ssl.SSLContext) -> None:
        inside.setblocking(False)
        self.raw = raw
        self.inside = inside
        self.loop = asyncio.get_running_loop()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    async def run(self) -> None:
        with self.raw, self.inside, suppress(ConnectionError, ssl.SSLError):
            while not await self.shake_hands():
                pass
            sending = asyncio.ensure_future(self.send())
            try:
                await self.receive()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def shake_hands(self) -> bool:
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            await self.flush()
            if not await self.fill():
                raise ConnectionAbortedError from None
            return False
        await self.flush()
        return True

    async def send(self) -> None:
        while data := await self.loop.sock_recv(self.inside, 65536):
            self.session.write(data)
            await self.flush()
        with suppress(ssl.SSLError):
            self.session.unwrap()
        await self.flush()

    async def receive(self) -> None:
        data = None
        while data != b"":
            try:
                data = self.session.read(65536)
            except ssl.SSLWantReadError:
                await self.fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            else:
                await self.loop.sock_sendall(self.inside, data)
        self.inside.shutdown(socket.SHUT_WR)

    async def flush(self) -> None:
        if self.outgoing.pending:
            await self.loop.sock_sendall(self.raw, self.outgoing.read())

    async def fill(self) -> bool:
        data = await self.loop.sock_recv(self.raw, 65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return bool(data)


def end(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
