"""What the app prints, in the real program: whole lines that say whose they are, and nobody who hangs for them."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from tests.integration.conftest import Start
from tests.integration.http_client import get
from tests.integration.running import wait_until

LINES = 10_000


def test_every_line_of_four_workers_is_a_json_record_through_a_pipe(start: Start, tmp_path: Path) -> None:
    running = start(
        *("printing:app", "--workers", "4", "--log-format", "json", "--bind", "unix:s.sock"),
        bind=None,
        prefix=("sh", "-c", 'exec "$@" 2>&1 | cat > piped', "sh"),
        env={"PRINT_LINES": str(LINES)},
        wait=False,
    )
    piped = tmp_path / "piped"
    wait_until(lambda: piped.exists() and '"serving"' in piped.read_text(), "serving", 60)
    said = [json.loads(line) for line in piped.read_bytes().splitlines()]
    assert not [each for each in said if "dropped" in each["event"]]
    printed: dict[tuple[int, str], list[str]] = defaultdict(list)
    begun: dict[tuple[int, str], str] = defaultdict(str)
    for each in said:
        if each["logger"] == "app" and "slot" in each:
            key = (each["slot"], each["stream"])
            begun[key] += each["event"]
            if not each.get("more"):
                printed[key].append(begun.pop(key))
    numbered = [f"{n} {'é' * (n % 4000 if n % 100 == 0 else 10)}" for n in range(LINES)]
    for slot in range(4):
        assert printed[slot, "stdout"] == numbered
        assert [line for line in printed[slot, "stderr"] if line.startswith("ValueError")] == [
            f"ValueError: invalid literal for int() with base 10: 'no number {n}'"
            for n in range(0, LINES, 1000)
        ]
    assert [each["event"] for each in said if each["logger"] == "app" and "slot" not in each] == ["imported"]
    assert running.process.poll() is None


def test_captured_text_lines_go_to_the_log_file_with_pid_stream_and_slot(
    start: Start, tmp_path: Path
) -> None:
    running = start("printing:app", "--log-file", "a.log", "--capture-output", wait=False)
    path = tmp_path / "a.log"
    wait_until(lambda: path.exists() and "serving" in path.read_text(), "serving")
    (port,) = re.findall(r"127\.0\.0\.1:(\d+)", path.read_text())
    get(("127.0.0.1", int(port)), "/")
    path.rename(tmp_path / "a.log.1")
    running.signal(signal.SIGUSR1)
    wait_until(lambda: path.exists() and "reopened" in path.read_text(), "the new file")
    get(("127.0.0.1", int(port)), "/child")
    wait_until(lambda: "tty" in path.read_text(), "lines in the new file")
    assert running.stop() == 0
    text = (tmp_path / "a.log.1").read_text() + path.read_text()
    (pid,) = set(re.findall(r" (\d+)?\] \[OUT\] slot=0 |\[(\d+)\] \[OUT\] slot=0 ", text)).pop()[1:]
    stamp = r"\[[-\d]{10} [:\d]{8} \+\d{4}\]"
    assert re.search(rf"^{stamp} \[\d+\] \[OUT\] slot=- imported$", text, re.MULTILINE)
    assert re.search(
        rf"^{stamp} \[{pid}\] \[OUT\] slot=0 \x1b\[31mcolour\x1b\[0m tty False$", text, re.MULTILINE
    )
    assert re.search(rf"^{stamp} \[{pid}\] \[ERR\] slot=0 by a handler$", text, re.MULTILINE)
    assert re.search(rf"^{stamp} \[{pid}\] \[OUT\] slot=0 no line end$", text, re.MULTILINE)
    assert set(running.output.splitlines()) == {"by a child"}  # below Python


def test_on_a_terminal_what_the_app_prints_is_not_touched(start: Start) -> None:
    running = start("printing:app", terminal=True)
    running.get()
    wait_until(lambda: "by a handler" in running.log, "the lines")
    assert b"\r\n\x1b[31mcolour\x1b[0m tty True\r\nby a handler\r\n" in running.log_path.read_bytes()


def test_an_app_that_prints_to_a_reader_that_is_stuck_hangs_neither_itself_nor_the_master(
    start: Start, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDWR)  # and never reads
    running = start(
        *("printing:app", "--capture-output", "--bind", "unix:s.sock"),
        bind=None,
        prefix=("sh", "-c", 'exec "$@" 2> fifo', "sh"),
        wait=False,
    )
    running.wait_workers(1)  # the socket is there before it listens
    for _ in range(20):
        assert get(str(tmp_path / "s.sock"), "/many").body == b"printed"
    running.signal(signal.SIGTTIN)
    assert len(running.wait_workers(2)) == 2
    max(running.workers, key=lambda worker: worker.create_time()).kill()
    wait_until(lambda: len(running.ready_workers) == 2, "its successor")
    os.set_blocking(reader, False)
    said = b""

    def read_on() -> bool:
        nonlocal said
        with suppress(BlockingIOError):
            while data := os.read(reader, 65536):
                said += data
        get(str(tmp_path / "s.sock"), "/")
        return b"were dropped" in said

    wait_until(read_on, "word of the dropped lines")
    os.close(reader)
    assert re.search(
        rb"\[WARNING\] slot=\d lines of the app's were dropped: no room for them lines=\d+\n", said
    )


def test_a_full_disk_costs_lines_and_nothing_else(start: Start, tmp_path: Path) -> None:
    running = start(
        *("printing:app", "--log-file", "/dev/full", "--capture-output", "--bind", "unix:s.sock"),
        bind=None,
        wait=False,
    )
    running.wait_workers(1)
    assert get(str(tmp_path / "s.sock"), "/many").body == b"printed"
    assert running.stop() == 0
