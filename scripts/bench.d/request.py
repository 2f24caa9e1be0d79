"""What is asked of a server under load, and which answer is right."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from pathlib import Path

from errors import BenchError

LUA = Path(__file__).parent / "lua"
CHECK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Request:
    """One request; under load it is repeated, or varied by `script`."""

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    script: Path | None = None
    """Lua for wrk, when its options do not suffice; gets the body as argument."""


COOKIES = (
    "_ga=GA1.1.1234567890.1700000000; sessionid=9f3c1e7a5b2d4c8f9e0a1b2c3d4e5f60; "
    "csrftoken=Zq3Jv8mT5yWc2Rk7Xb9Nf4Lh6Pd1Gs0A; theme=dark; locale=en-GB; cart=3%3A2%2C17%3A1"
)
BROWSER = Request(
    path="/account/orders?page=2&sort=date",
    headers=(
        ("Connection", "keep-alive"),
        ("Cache-Control", "max-age=0"),
        ("sec-ch-ua", '"Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"'),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", '"Linux"'),
        ("sec-ch-ua-arch", '"x86"'),
        ("DNT", "1"),
        ("Upgrade-Insecure-Requests", "1"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
        ),
        (
            "Accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
        ),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-User", "?1"),
        ("Sec-Fetch-Dest", "document"),
        ("Referer", "http://127.0.0.1/account/orders?page=1&sort=date"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8,fr;q=0.7"),
        ("Cookie", COOKIES),
        ("If-Modified-Since", "Wed, 21 Oct 2026 07:28:00 GMT"),
    ),
)
"""With Host, which every client adds, 20 headers."""

ECHO = Request(
    method="POST",
    headers=(("Content-Type", "application/octet-stream"),),
    body=b"0123456789abcdef" * 64,
    script=LUA / "post.lua",
)
"""1024 bytes, of characters that survive a command line."""

VARIED = Request(
    path="/items/1?page=1&q=word31", headers=(("X-Request-Id", "req-1"),), script=LUA / "varied.lua"
)


def check_answer(port: int, request: Request, right: bytes) -> None:
    """Ask once: status, body and Content-Length must be right, or nobody is to be measured."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CHECK_TIMEOUT_S)
    try:
        connection.request(request.method, request.path, request.body or None, dict(request.headers))
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise BenchError(f"wrong answer: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise BenchError(f"wrong answer: status {response.status}, {body[:80]!r}")
    if body != right:
        raise BenchError(f"wrong answer: {len(body)} bytes {body[:80]!r} instead of {right[:80]!r}")
    if response.headers.get_all("Content-Length") != [str(len(right))]:
        raise BenchError(f"wrong answer: Content-Length {response.headers.get_all('Content-Length')}")
