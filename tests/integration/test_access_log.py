"""The access log of the real program: no line lost or torn, whatever happens to its file, its workers or its reader."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.load import Load, Question
from tests.integration.running import Running, wait_until
from tests.integration.test_privileges import NOBODY, WAY, open_folder  # noqa: F401  # a fixture

LINE = re.compile(
    r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /(\d+) HTTP/1\.1" 200 13 "-" "-"'
)


class Numbered:
    """Questions of which no two are the same."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, _: object) -> Question:
        self.asked += 1
        number = self.asked
        return Question(f"/{number}", b"", lambda response: response.body == b"Hello, world!")


def read_numbers(*paths: Path) -> Counter[int]:
    found: Counter[int] = Counter()
    for path in paths:
        text = path.read_text()
        assert text.endswith("\n") or not text
        for line in text.splitlines():
            match = LINE.fullmatch(line)
            assert match, f"a torn line in {path.name}: {line!r}"
            found[int(match[1])] += 1
    return found


def rotate(running: Running, path: Path, number: int) -> Path:
    rotated = path.with_suffix(f".{number}")
    path.rename(rotated)
    running.signal(signal.SIGUSR1)
    running.wait_for_record("access log reopened", count=number)
    wait_until(lambda: path.exists() and path.stat().st_size, "lines in the new file")
    return rotated


def test_every_request_has_one_line_across_rotations_a_reload_and_a_stop(
    start: Start, tmp_path: Path
) -> None:
    running = start("hello_asgi:app", "--workers", "4", "--access-log", "access.log", "--settle", "0")
    path, rotated, load_for = tmp_path / "access.log", [], Numbered()
    with Load(running.address, ask=load_for, threads=6, pause_s=0.0) as load:
        wait_until(lambda: load.answered > 200, "requests")
        rotated += [rotate(running, path, number) for number in (1, 2)]
        running.signal(signal.SIGHUP)
        running.wait_for_record("reloaded")
        rotated.append(rotate(running, path, 3))
        answered = load.answered
        wait_until(lambda: load.answered > answered + 200, "more requests")
    assert running.stop() == 0
    assert load.report.lost == 0, load.report
    numbers = read_numbers(path, *rotated)
    assert sorted(numbers) == list(range(1, load.answered + 1))
    assert set(numbers.values()) == {1}
    assert path.stat().st_mode & 0o777 & ~0o640 == 0


def test_what_is_answered_while_draining_has_its_line(start: Start, tmp_path: Path) -> None:
    running = start("sleepy:app", "--access-log", "access.log", "--access-log-format", "%(U)s %(s)s %(X)s")
    with Connection(running.address) as connection:
        connection.send(b"GET /?s=0.3 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: running.ready_workers, "a worker")
        running.signal(signal.SIGTERM)
        connection.read_response()
    assert running.wait_exit() == 0
    assert (tmp_path / "access.log").read_text() == "/ 200 -\n"


def test_a_dash_is_standard_output_and_json_its_lines(start: Start) -> None:
    running = start("hello_wsgi:app", "--access-log", "-", "--log-format", "json", wait=False)
    wait_until(lambda: '"serving"' in running.log, "serving")
    port = int(re.findall(r"127\.0\.0\.1:(\d+)", running.log)[0])
    with Connection(("127.0.0.1", port)) as connection:
        for number in range(3):
            connection.request(f"/{number}", head="User-Agent: x\r\n")
    assert running.stop() == 0
    said = [json.loads(line) for line in running.output.splitlines()]
    assert [(each["path"], each["status"], each["agent"]) for each in said] == [
        (f"/{number}", 200, "x") for number in range(3)
    ]


def test_a_pipe_that_nobody_reads_holds_up_nobody(start: Start, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    running = start(
        "hello_asgi:app",
        "--workers",
        "2",
        "--access-log",
        str(fifo),
        "--access-log-format",
        "x" * 2997 + "%(s)s",
    )
    with Load(running.address, threads=4, pause_s=0.0) as load:
        running.wait_for_record("access log lines dropped: no room for them")
        answered = load.answered
        wait_until(lambda: load.answered > answered + 500, "requests that go on")
    assert load.report.lost == 0, load.report
    data = os.read(reader, 1 << 20)
    os.close(reader)
    assert set(data.split(b"\n")) == {b"x" * 2997 + b"200", b""}
    assert running.stop() == 0
    assert len(running.find_records("access log lines dropped: no room for them")) <= 6


def test_a_reload_changes_the_path_and_the_format(start: Start, tmp_path: Path) -> None:
    configuration = tmp_path / "prefork.toml"
    configuration.write_text('access-log = "old.log"\naccess-log-format = "old %(U)s"\n')
    running = start("hello_asgi:app", "--settle", "0")
    running.get("/1")
    for text, told in (
        ('access-log = "no/such/directory.log"\n', "reload refused"),
        ('access-log-format = "%(nonsense)s"\n', "reload refused"),
    ):
        before = len(running.log.split(told))
        configuration.write_text(text)
        running.signal(signal.SIGHUP)
        wait_until(lambda told=told, before=before: len(running.log.split(told)) > before, told)  # type: ignore[misc] # bound at once
    running.get("/2")
    configuration.write_text('access-log = "new.log"\naccess-log-format = "new %(U)s"\n')
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    running.wait_workers(1)
    running.get("/3")
    assert running.stop() == 0
    assert (tmp_path / "old.log").read_text() == "old /1\nold /2\n"
    assert (tmp_path / "new.log").read_text() == "new /3\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--access-log", "no/where.log"), 78, "cannot write the access log"),
        (("--access-log", "link"), 78, "it is a symbolic link"),
        (("--access-log", "-", "--access-log-format", "%(nonsens)s"), 2, "no atom %(nonsens)s"),
        (("--forwarded-headers", "x-forwarded-fr"), 2, "did you mean x-forwarded-for?"),
    ],
)
def test_what_cannot_be_is_one_error_at_the_start(
    start: Start, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "link").symlink_to("elsewhere.log")
    running = start("hello_asgi:app", *arguments, wait=False)
    assert running.wait_exit() == code
    assert said in running.log
    assert len(running.log.strip().splitlines()) <= 4
    assert not (tmp_path / "elsewhere.log").exists()


@pytest.mark.skipif(WAY is None, reason="needs root, or a way to be it")
def test_the_log_is_opened_by_root_and_owned_by_the_user(open_folder: Path, start: Start) -> None:  # noqa: F811
    path = open_folder / "access.log"
    running = start(
        "pids:app", "--user", NOBODY, "--access-log", str(path), folder=open_folder, prefix=WAY or ()
    )
    running.get("/first")
    wait_until(lambda: "/first" in path.read_text(), "the first line")
    path.rename(open_folder / "rotated.log")
    running.signal(signal.SIGUSR1)
    running.wait_for_record("access log reopened")
    running.get("/second")
    assert running.stop() == 0
    assert "/first" in (open_folder / "rotated.log").read_text()
    assert "/second" in path.read_text()
    assert path.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
    assert path.stat().st_mode & 0o777 & ~0o640 == 0


def test_standard_output_may_be_a_closed_pipe(start: Start, tmp_path: Path) -> None:
    # `prefork … | head -1`: the reader is gone, the service is not.
    running = start(
        "hello_asgi:app",
        "--access-log",
        "-",
        "--bind",
        "unix:s.sock",
        bind=None,
        prefix=("sh", "-c", 'exec "$@" | head -n 1 > first', "sh"),
        wait=False,
    )
    wait_until(lambda: "serving" in running.log, "serving")
    for number in range(5):
        with Connection(str(tmp_path / "s.sock")) as connection:
            assert connection.request(f"/{number}").body == b"Hello, world!"
    wait_until(lambda: "GET /0 " in (tmp_path / "first").read_text(), "the first line")
