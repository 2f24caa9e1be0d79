"""Behind a real nginx, configured as docs/deploying.md says, the app sees the client and not the proxy."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Address, Connection
from tests.integration.running import is_listening, wait_until

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream app {{ server {upstream}; keepalive 8; }}
  server {{
    listen unix:{folder}/front.sock;
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
{lines}
    }}
  }}
}}
"""
AS_DOCUMENTED = """
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
"""
# What arrives over a unix socket has no address: the client in front of this nginx is told by the test.
CHAIN = AS_DOCUMENTED.replace("$remote_addr", '"6.6.6.6, 192.0.2.7, unix:"').replace("$scheme", "https")


@contextmanager
def proxying(folder: Path, upstream: str, lines: str) -> Iterator[Address]:
    assert NGINX is not None
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, upstream=upstream, lines=lines))
    with subprocess.Popen(
        [NGINX, "-c", str(configuration), "-p", str(folder)], stderr=subprocess.PIPE
    ) as nginx:
        try:
            wait_until(lambda: is_listening(folder / "front.sock") or nginx.poll() is not None, "nginx")
            assert nginx.poll() is None, nginx.stderr and nginx.stderr.read()
            yield str(folder / "front.sock")
        finally:
            nginx.send_signal(signal.SIGTERM)
            nginx.wait(10)


def ask(front: Address, head: str = "") -> dict[str, Any]:
    with Connection(front) as connection:
        told: dict[str, Any] = connection.request("/", head=head).json()
        return told


@pytest.mark.parametrize("interface", ["app", "wsgi"])
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:back.sock"])
def test_the_app_sees_the_client(start: Start, tmp_path: Path, interface: str, bind: str) -> None:
    running = start(f"ends:{interface}", bind=bind)
    upstream = f"unix:{tmp_path}/back.sock" if bind.startswith("unix") else f"127.0.0.1:{running.port}"
    with proxying(tmp_path, upstream, CHAIN) as front:
        told = ask(front, "X-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Host: evil\r\nForwarded: for=8.8.8.8\r\n")
    # nginx leaves X-Forwarded-Host and Forwarded to the client: they are not believed unless asked for.
    assert (told["client"], told["scheme"]) == ("192.0.2.7", "https")
    assert told["host"] not in {"evil", ""}


def test_a_proxy_that_is_not_trusted_is_the_client(start: Start, tmp_path: Path) -> None:
    running = start("ends:app", "--forwarded-allow-ips", "10.0.0.1")
    with proxying(tmp_path, f"127.0.0.1:{running.port}", CHAIN) as front:
        told = ask(front)
    assert (told["client"], told["scheme"]) == ("127.0.0.1", "http")


def test_a_host_is_believed_when_the_operator_says_so(start: Start, tmp_path: Path) -> None:
    running = start("ends:app", "--forwarded-headers", "x-forwarded-for,x-forwarded-proto,x-forwarded-host")
    lines = CHAIN + "      proxy_set_header X-Forwarded-Host shop.example;\n"
    with proxying(tmp_path, f"127.0.0.1:{running.port}", lines) as front:
        told = ask(front, "X-Forwarded-Host: evil\r\n")
    assert told == {"client": "192.0.2.7", "scheme": "https", "host": "shop.example"}


def test_no_proxy_headers_believes_nobody(start: Start, tmp_path: Path) -> None:
    running = start("ends:app", "--no-proxy-headers")
    with proxying(tmp_path, f"127.0.0.1:{running.port}", CHAIN) as front:
        assert ask(front)["client"] == "127.0.0.1"
