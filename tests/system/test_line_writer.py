"""Lines arrive whole or not at all, and whoever writes them never waits."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.system.line_writer import MOST_WAITING_BYTES, LineWriter
from prefork.system.lines import PIPE_BUF_BYTES
from prefork.system.logs import open_log

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    os.set_blocking(read_fd, False)
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def read_all(fd: int) -> bytes:
    data = b""
    while True:
        try:
            more = os.read(fd, 65536)
        except BlockingIOError:
            return data
        if not more:
            return data
        data += more


def test_a_file_gets_all_lines_at_once(tmp_path: Path) -> None:
    fd = open_log(str(tmp_path / "log"))
    writer = LineWriter(fd)
    assert writer.write(LINE * 1000)
    os.close(fd)
    assert (tmp_path / "log").read_bytes() == LINE * 1000
    assert (writer.dropped, writer.most_line_bytes) == (0, 0)


def test_a_full_pipe_is_waited_for_up_to_a_bound_and_never_torn(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    writer = LineWriter(write_fd)
    assert writer.most_line_bytes == PIPE_BUF_BYTES
    lines = (64 * 1024 + MOST_WAITING_BYTES) // len(LINE) + 500
    for _ in range(lines):
        writer.write(LINE)
    assert 0 < writer.dropped < lines
    got = b""
    while not writer.write(b""):
        got += read_all(read_fd)
    got += read_all(read_fd)
    assert got == LINE * (lines - writer.dropped)


def test_a_pipe_nobody_reads_costs_its_lines_only(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    writer = LineWriter(write_fd)
    assert writer.write(LINE * 3)
    assert writer.dropped == 3
    os.close(write_fd)


def test_the_end_waits_for_a_reader_for_a_while_and_no_longer(pipe: tuple[int, int]) -> None:
    _, write_fd = pipe
    writer = LineWriter(write_fd)
    writer.write(LINE * 1000)
    writer.finish(0.05)
    assert writer.dropped > 0


def test_a_socket_is_written_to_without_changing_it_for_others() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = LineWriter(ours.fileno())
        while writer.write(LINE * 100):
            pass
        assert os.get_blocking(ours.fileno())
        received = b""
        theirs.settimeout(5)
        while not writer.write(b""):
            received += theirs.recv(1 << 20)
        theirs.setblocking(False)
        received += read_all(theirs.fileno())
        assert len(received) % len(LINE) == 0
        assert set(received.split(b"\n")) == {LINE[:-1], b""}
        writer.finish(0)


def test_what_waits_for_a_pipe_goes_to_the_file_that_takes_its_place(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    _, write_fd = pipe
    writer = LineWriter(write_fd)
    assert not writer.write(LINE * 1000)
    fd = open_log(str(tmp_path / "log"))
    os.dup2(fd, write_fd, inheritable=False)
    os.close(fd)
    writer.look_again()
    assert writer.write(LINE)
    assert (tmp_path / "log").read_bytes().endswith(LINE * 2)


def test_after_a_full_disk_the_next_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    pid = os.fork()
    if pid == 0:  # a limit of its own
        try:
            import signal  # noqa: PLC0415

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (250, resource.RLIM_INFINITY))
            writer = LineWriter(open_log(str(path)))
            writer.write(LINE * 3)  # two and a half fit
            first = writer.dropped
            writer.write(LINE)
            second = writer.dropped
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            writer.write(LINE)
            os._exit(0 if (first, second, writer.dropped) == (1, 2, 2) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert path.read_bytes() == LINE * 2 + LINE[:50] + b"\n" + LINE
