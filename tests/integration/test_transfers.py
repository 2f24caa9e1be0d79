"""200 MB up and down: every byte right, and the worker's memory bounded, also when one side does not keep up."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection, parse_head
from tests.integration.running import assert_never_within

TOTAL_BYTES = 200 * 2**20
PIECE_BYTES = 65536
GROWTH_BYTES_AT_MOST = 48 * 2**20

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("download:app", ()),
        ("download:wsgi", ()),
        pytest.param("download:wsgi", ("--threads", "2"), marks=pytest.mark.thorough),
        ("download:app_file", ()),
        pytest.param("download:app_file", ("--loop", "asyncio"), marks=pytest.mark.thorough),
        ("download:wsgi_file", ()),
        pytest.param("download:wsgi_file", ("--threads", "2"), marks=pytest.mark.thorough),
    ],
    ids=["asgi", "wsgi", "wsgi threads", "path", "path asyncio", "file", "file threads"],
)
def test_a_download_that_stalls_arrives_whole_in_bounded_memory(
    start: Start, tmp_path: Path, app: str, options: tuple[str, ...]
) -> None:
    with (tmp_path / "data.bin").open("wb") as file:
        for number in range(TOTAL_BYTES // PIECE_BYTES if app.endswith("_file") else 0):
            file.write(bytes([number % 251]) * PIECE_BYTES)
    running = start(app, *options)
    pid = running.workers[0].pid
    before = read_peak_bytes(pid)
    with Connection(running.address, 30) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        status, _, headers = parse_head(connection.read_until(b"\r\n\r\n"))
        assert (status, dict(headers)["content-length"]) == (200, str(TOTAL_BYTES))
        assert_never_within(
            lambda: read_peak_bytes(pid) - before > GROWTH_BYTES_AT_MOST, "the response piled up in memory", 1
        )
        pieces = [bytes([number]) * PIECE_BYTES for number in range(251)]
        for number in range(TOTAL_BYTES // PIECE_BYTES):
            assert connection.read_exactly(PIECE_BYTES) == pieces[number % 251], f"piece {number}"
    (tmp_path / "data.bin").unlink()  # pytest keeps directories
    assert read_peak_bytes(pid) - before < GROWTH_BYTES_AT_MOST


@pytest.mark.parametrize(
    "chunked", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["length", "chunked"]
)
@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("echo_body:measure", ()),
        ("echo_body:slow", ()),
        ("echo_body:wsgi_measure", ()),
        ("echo_body:wsgi_measure", ("--threads", "2")),
    ],
    ids=["asgi", "slow asgi", "wsgi", "wsgi threads"],
)
def test_an_upload_arrives_whole_in_bounded_memory(
    start: Start, app: str, options: tuple[str, ...], *, chunked: bool
) -> None:
    running = start(app, *options)
    pid = running.workers[0].pid
    before = read_peak_bytes(pid)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {TOTAL_BYTES}"
    digest = hashlib.sha256()
    with Connection(running.address, 60) as connection:
        connection.send(f"POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n".encode())
        piece = bytes(range(256)) * 1024
        for _ in range(TOTAL_BYTES // len(piece)):
            digest.update(piece)
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            connection.send(b"0\r\n\r\n")
        answer = connection.read_response().body.decode()

    assert answer == f"{TOTAL_BYTES} {digest.hexdigest()} {pid}"
    assert read_peak_bytes(pid) - before < GROWTH_BYTES_AT_MOST


def read_peak_bytes(pid: int) -> int:
    """The most memory the process has ever had resident."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024
