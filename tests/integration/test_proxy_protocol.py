"""The PROXY protocol behind real proxies: HAProxy sends both versions, nginx speaks TLS to us."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import make_client_context, write_files
from tests.integration.conftest import Start
from tests.integration.http_client import Response, get
from tests.integration.load import Load
from tests.integration.running import Running, is_listening, wait_until

TIMEOUT_S = 10.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
both_interfaces = pytest.mark.parametrize("app", ["encrypted:app", "encrypted:wsgi"], ids=["asgi", "wsgi"])


@contextmanager
def haproxy(folder: Path, server: str, *, mode: str = "tcp") -> Iterator[int]:
    """HAProxy in front of `server` (an address and its options); gives its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    configuration = folder / "haproxy.cfg"
    configuration.write_text(
        "defaults\n"
        f"  mode {mode}\n"
        "  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n"
        f"listen front\n  bind fd@{listener.fileno()}\n  server app {server}\n"
    )
    with listener, (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(configuration)],
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)


def ask_through(sock: socket.socket) -> dict[str, Any]:
    with sock:
        sock.sendall(GET)
        data = b""
        while piece := sock.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), data
    said: dict[str, Any] = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    return said


@needs_haproxy
@both_interfaces
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_client_of_haproxy_is_the_client(
    start: Start, tmp_path: Path, app: str, version: str, loop: str
) -> None:
    running = start(app, "--proxy-protocol", "--loop", loop)
    with haproxy(tmp_path, f"127.0.0.1:{running.port} {version}") as port:
        for _ in range(3):
            sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
            name = list(sock.getsockname())
            assert ask_through(sock)["client"] == name


@needs_haproxy
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_tls_goes_through_haproxy_behind_its_header(start: Start, tmp_path: Path, version: str) -> None:
    files = write_files(tmp_path)
    running = start("encrypted:app", "--proxy-protocol", "--certfile", str(files.both))
    with haproxy(tmp_path, f"127.0.0.1:{running.port} {version}") as port:
        raw = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        name = list(raw.getsockname())
        said = ask_through(make_client_context().wrap_socket(raw, server_hostname="localhost"))
        assert (said["client"], said["scheme"]) == (name, "https")


@needs_haproxy
def test_haproxy_speaks_tls_itself_and_sends_the_header_before_it(start: Start, tmp_path: Path) -> None:
    files = write_files(tmp_path)
    running = start("encrypted:app", "--proxy-protocol", "--certfile", str(files.both))
    server = f"127.0.0.1:{running.port} send-proxy-v2-ssl-cn ssl verify required ca-file {files.ca}"
    with haproxy(tmp_path, server, mode="http") as port:
        sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        name = list(sock.getsockname())
        said = ask_through(sock)
        assert (said["client"], said["scheme"]) == (name, "https")


@needs_haproxy
def test_reloads_behind_haproxy_lose_nothing(start: Start, tmp_path: Path) -> None:
    running = start("hello_asgi:app", "--proxy-protocol", "--workers", "2", "--settle", "0")
    server = f"127.0.0.1:{running.port} send-proxy-v2"
    with haproxy(tmp_path, server) as port, Load(("127.0.0.1", port), keep_alive=False) as load:
        for number in range(1, 4):
            answered = load.answered
            running.signal(signal.SIGHUP)
            running.wait_for_record("reloaded", count=number)
            wait_until(lambda: load.answered > answered + 10, "answers")  # noqa: B023 at once
    assert load.report.lost == 0, load.report


@needs_haproxy
def test_stream_handlers_hear_who_it_is(start: Start, tmp_path: Path) -> None:
    (tmp_path / "who.py").write_text(
        "async def handler(reader, writer):\n"
        "    writer.write(repr(writer.get_extra_info('peername')).encode())\n"
    )
    running = start("who:handler", "--proxy-protocol")
    with (
        haproxy(tmp_path, f"127.0.0.1:{running.port} send-proxy-v2") as port,
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock,
    ):
        assert sock.recv(1000) == repr(sock.getsockname()).encode()


def test_who_is_not_trusted_is_not_believed(start: Start) -> None:
    running = start("encrypted:app", "--proxy-protocol", "--forwarded-allow-ips", "10.0.0.0/8")
    with socket.create_connection(("127.0.0.1", running.port), TIMEOUT_S) as sock:
        sock.sendall(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n" + GET)
        assert sock.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert ask_through(socket.create_connection(("127.0.0.1", running.port), TIMEOUT_S))["client"]


def test_a_trusted_peer_without_a_header_is_closed_and_told_of_once(start: Start) -> None:
    running = start("encrypted:app", "--proxy-protocol", "--log-level", "debug")
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", running.port), TIMEOUT_S) as sock:
            sock.sendall(GET)
            with suppress(ConnectionResetError):
                assert sock.recv(65536) == b""
    lines = [record for record in running.records if record.event.startswith("bad opening")]
    assert 1 <= len(lines) <= 3, "and no flood"
    assert {record.level for record in lines} == {"DEBUG"}
    (told,) = running.find_records("a trusted proxy sends no valid PROXY header, closed")
    assert (told.level, told.fields["proxy"], told.fields["times"]) == ("WARNING", "127.0.0.1", "1")


def test_many_silent_connections_hinder_nobody(start: Start) -> None:
    """The header of a thousand does not come; whoever sends one is answered at once."""
    running = start("encrypted:app", "--proxy-protocol", "--header-timeout", "60", "--keep-alive", "1")
    silent = [socket.create_connection(("127.0.0.1", running.port), TIMEOUT_S) for _ in range(800)]
    sock = socket.create_connection(("127.0.0.1", running.port), 2.0)
    sock.sendall(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n")
    assert ask_through(sock)["client"] == ["192.0.2.1", 56324]
    assert running.stop(8.0) == 0
    for each in silent:
        each.close()


def is_alice(response: Response) -> bool:
    return str(json.loads(response.body)["name"]).startswith("CN=alice")


@needs_nginx
def test_nginx_passes_on_to_https(start: Start, tmp_path: Path) -> None:
    files = write_files(tmp_path)
    running = start(
        *("encrypted:app", "--certfile", str(files.both), "--workers", "2", "--settle", "0"),
        *("--ca-certs", str(files.ca), "--cert-reqs", "required"),
    )
    with nginx(tmp_path, running, files.ca, files.client) as path, Load(path, is_alice) as load:
        running.signal(signal.SIGHUP)
        running.wait_for_record("reloaded")
        wait_until(lambda: load.answered > 50, "answers")
    assert load.report.lost == 0, load.report


@contextmanager
def nginx(folder: Path, running: Running, ca: Path, client: Path) -> Iterator[str]:
    """Nginx on a unix socket, in front of our TLS; gives the socket's path."""
    path = folder / "nginx.sock"
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        "events {}\n"
        "http {\n"
        f"  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"  upstream app {{ server 127.0.0.1:{running.port}; keepalive 4; }}\n"
        f"  server {{ listen unix:{path}; location / {{\n"
        "    proxy_pass https://app; proxy_http_version 1.1; proxy_set_header Connection ''; \n"
        f"    proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; proxy_ssl_name localhost;\n"
        f"    proxy_ssl_certificate {client}; proxy_ssl_certificate_key {client};\n"
        "  } }\n"
        "}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(configuration), "-e", str(folder / "nginx.log")])
    try:
        wait_until(lambda: is_listening(path), "nginx")
        wait_until(lambda: get(str(path)).status == 200, "an answer through nginx")
        yield str(path)
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
