"""Lines that the app prints: whole, signed, split only where a pipe would tear them, dropped only when nobody reads."""

# ruff: noqa: T201  # printing is what is tested

from __future__ import annotations

import json
import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefork.system import app_output
from prefork.system.app_output import AppOutput

any_text = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=40)
long_text = st.builds(str.__mul__, any_text, st.integers(1, 500))


class Printed:
    """A pipe, what prints into it, and what came out."""

    def __init__(self, *, as_json: bool) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        self._read = b""
        self.output = AppOutput(self.write_fd, as_json=as_json, log_time="none")

    def lines(self) -> list[str]:
        while select.select([self.read_fd], [], [], 0)[0]:
            self._read += os.read(self.read_fd, 65536)
        whole, end, self._read = self._read.rpartition(b"\n")
        return whole.decode("utf-8", "surrogateescape").split("\n") if end else []

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


# Each test takes over by itself: between fixtures and tests pytest puts its own streams in.


@pytest.fixture(autouse=True)
def _streams() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    yield
    sys.stdout, sys.stderr = before


@pytest.fixture
def text() -> Iterator[Printed]:
    printed = Printed(as_json=False)
    yield printed
    printed.close()


@pytest.fixture
def records() -> Iterator[Printed]:
    printed = Printed(as_json=True)
    yield printed
    printed.close()


def test_a_line_says_which_process_printed_it_where(text: Printed) -> None:
    text.output.take_over()
    print("at import")
    text.output.sign(2, 7)
    print("one", 1, end="\ntwo\n")
    print("warned", file=sys.stderr)
    pid = os.getpid()
    assert text.lines() == [
        f"[{pid}] [OUT] slot=- at import",
        f"[{pid}] [OUT] slot=2 one 1",
        f"[{pid}] [OUT] slot=2 two",
        f"[{pid}] [ERR] slot=2 warned",
    ]


def test_a_json_line_has_the_fields_of_a_log_line_and_its_stream(records: Printed) -> None:
    records.output.take_over()
    records.output.sign(2, 7)
    print('say "é"', file=sys.stderr)
    (said,) = map(json.loads, records.lines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.pop("time"))
    assert said == {
        "level": "error", "logger": "app", "stream": "stderr", "slot": 2, "gen": 7, "pid": os.getpid(),
        "event": 'say "é"',
    }  # fmt: skip


def test_a_record_of_the_apps_own_passes_as_it_is(records: Printed) -> None:
    records.output.take_over()
    print('{"level":"debug","msg":"x"}')
    print('{"half":')
    own, half = records.lines()
    assert own == '{"level":"debug","msg":"x"}'
    assert json.loads(half)["event"] == '{"half":'


@settings(deadline=None, max_examples=30)
@given(long_text)
def test_a_line_too_long_for_a_pipe_is_split_into_records_that_make_it_up_again(line: str) -> None:
    printed = Printed(as_json=True)
    printed.output.put("stdout", [line.encode()])
    found = printed.lines()
    printed.close()
    assert all(len(each.encode()) < 4096 for each in found)
    said = [json.loads(each) for each in found]
    assert "".join(each["event"] for each in said) == line or line.startswith("{")
    assert [each.get("more", False) for each in said] == [True] * (len(said) - 1) + [False]


def test_a_long_text_line_is_split_between_characters(text: Printed) -> None:
    text.output.take_over()
    print("é" * 5000)
    found = [line.partition(" slot=- ")[2] for line in text.lines()]
    assert len(found) > 1
    assert "".join(part.removesuffix("…") for part in found) == "é" * 5000


def test_of_a_progress_bar_the_last_state_is_kept_and_a_dos_line_end_is_none(text: Printed) -> None:
    text.output.take_over()
    for percent in range(100):
        print(f"\r{percent}%", end="", flush=True)
    print("\ndone\r\n", end="")
    assert [line.partition(" slot=- ")[2] for line in text.lines()] == ["99%", "done"]


def test_the_beginning_of_a_line_waits_for_its_end_or_the_process_to_end(text: Printed) -> None:
    text.output.take_over()
    print("loading", end="", flush=True)
    assert text.lines() == []
    text.output.settle()
    assert text.lines()[0].endswith(" loading")


def test_a_reader_that_is_slow_loses_nothing(text: Printed) -> None:
    text.output.take_over()

    def read() -> None:
        while len(found) < 3000:
            found.extend(text.lines())
            select.select([text.read_fd], [], [], 0.2)

    found: list[str] = []
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(3000):
        print(number, "x" * 200)
    text.output.settle()
    reader.join(20)
    assert [line.split()[3] for line in found] == list(map(str, range(3000)))


def test_nobody_reads_so_a_print_waits_once_and_what_was_dropped_is_told(
    text: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    text.output.take_over()
    waits: list[float] = []

    def wait_in_vain(limit_s: float) -> bool:
        waits.append(limit_s)
        return False

    monkeypatch.setattr(text.output._writer, "wait_written", wait_in_vain)
    for _ in range(600):
        print("x" * 1000)
    assert waits == [app_output.PATIENCE_S]
    monkeypatch.undo()
    kept = len(text.lines())
    while True:
        print("again")
        if not (found := text.lines()):
            break
        kept += sum("x" * 1000 in line for line in found)
        if told := [line for line in found if "dropped" in line]:
            break
    (line,) = told
    assert line == (
        f"[{os.getpid()}] [WARNING] slot=- lines of the app's were dropped: no room for them lines={600 - kept}"
    )


def test_a_fork_does_not_repeat_what_its_parent_has_begun(text: Printed) -> None:
    text.output.take_over()
    print("begun", end="", flush=True)
    if (pid := os.fork()) == 0:
        print(" in the child")
        os._exit(0)
    os.waitpid(pid, 0)
    print(" in the parent")
    assert [line.partition(" slot=- ")[2] for line in text.lines()] == [
        " in the child",
        "begun in the parent",
    ]


def test_the_streams_lead_to_the_descriptors_for_whoever_asks(text: Printed) -> None:
    text.output.take_over()
    assert (sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty()) == (1, 2, False)
    sys.stdout.buffer.write(b"bytes \xff\n")
    assert text.lines()[0].endswith(" bytes \udcff")


def test_what_a_full_disk_took_is_told_when_there_is_room_again(tmp_path: Path) -> None:
    full, room = os.open("/dev/full", os.O_WRONLY), tmp_path / "a.log"
    fd = os.open(room, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log_fd = os.dup(full)
    output = AppOutput(log_fd, as_json=False, log_time="none")
    output._writer._is_file = True  # as on a disk that is full
    for _ in range(5):
        output.put("stdout", [b"lost", b"lost"])
    os.dup2(fd, log_fd)
    output.put("stdout", [b"found"])
    lines = room.read_text().splitlines()
    assert [line.partition("slot=- ")[2] for line in lines] == [
        "found", "lines of the app's were dropped: no room for them lines=10"
    ]  # fmt: skip
    for each in (full, fd, log_fd):
        os.close(each)
