"""Log lines: whole, one each, and never the reason that a process stops."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefork.errors import ConfigError
from prefork.system.log_lines import JsonFormatter, TextFormatter, escape
from prefork.system.logs import (
    LineHandler,
    open_log,
    set_up_logging,
)

HEAD = "[2026-01-02 03:04:05 +0000] [411] [INFO]"
VALUE = r"""(?:"(?:[^"\\]|\\.)*"|[^\s="']+)"""
any_text = st.text(st.characters(codec=None))  # lone surrogates too


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def make_record(event: str = "event", **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "prefork.master",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "process": 411,
            "created": 1767323045.678,
            "msecs": 678.0,
            "msg": event,
            **fields,
        }
    )


def make_failed_record(message: str) -> logging.LogRecord:
    try:
        raise ValueError(message)  # noqa: TRY301 a traceback is wanted
    except ValueError:
        return make_record(exc_info=sys.exc_info())


# Text.


def test_a_text_line_is_time_pid_level_event_and_fields() -> None:
    record = make_record("worker ready", slot=1, gen=3, pid=412, boot_ms=12.5)
    assert TextFormatter().format(record) == f"{HEAD} worker ready slot=1 gen=3 pid=412 boot_ms=12.5"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("it's", '"it\'s"'),
        ("C:\\x", "C:\\x"),
        ("C:\\a b\\", r'"C:\\a b\\"'),
        ('\\" admin=1', r'"\\\" admin=1"'),
        ("a\tb", '"a\tb"'),
        ("a\nb", r"a\nb"),
        ("a\r\n[x] [1] [INFO] forged", r'"a\r\n[x] [1] [INFO] forged"'),
        ("\x1b[31m\x00\x7f\x85\u2028\u202e", r"\x1b[31m\x00\x7f\x85\u2028\u202e"),
        ("caf\udce9", r"caf\udce9"),
        ("é😀", "é😀"),
        (None, "None"),
    ],
)
def test_a_field_is_quoted_where_it_must_be(value: object, shown: str) -> None:
    assert TextFormatter().format(make_record(key=value)) == f"{HEAD} event key={shown}"


def test_a_message_with_a_newline_stays_on_its_line() -> None:
    record = make_record(f"lost\n{HEAD} forged\x1b[2J")
    assert TextFormatter().format(record) == rf"{HEAD} lost\n{HEAD} forged\x1b[2J"


@settings(deadline=None)
@given(any_text, any_text)
def test_no_text_forges_a_line_or_a_field(first: str, second: str) -> None:
    line = TextFormatter().format(make_record(first=first, second=second))
    assert re.fullmatch(rf"{re.escape(HEAD)} event first={VALUE} second={VALUE}", line)
    assert line.replace("\t", "").isprintable()


def test_a_detail_and_a_traceback_follow_on_lines_of_their_own() -> None:
    record = make_record("worker killed", slot=0, detail="File x, line 1\n  File y, line 2\n\n")
    assert TextFormatter().format(record) == f"{HEAD} worker killed slot=0\nFile x, line 1\n  File y, line 2"
    lines = TextFormatter().format(make_failed_record("broken")).splitlines()
    assert lines[:2] == [f"{HEAD} event", "Traceback (most recent call last):"]
    assert lines[-1] == "ValueError: broken"


def test_a_traceback_and_a_detail_cannot_drive_a_terminal() -> None:
    assert TextFormatter().format(make_record(detail="\x1b[2J\r\tx")) == f"{HEAD} event\n\\x1b[2J\\r\tx"
    assert TextFormatter().format(make_failed_record("\x1b[2J")).endswith("\nValueError: \\x1b[2J")


def test_escaping_changes_nothing_that_can_be_read() -> None:
    assert escape("a b\té…\\n") == "a b\té…\\n"


# JSON.


def test_a_json_line_is_one_object_with_the_same_fields() -> None:
    line = JsonFormatter().format(make_record("worker killed", slot=1, why='it "hung"\n', detail="a\nb\n"))
    assert line == (
        '{"time":"2026-01-02T03:04:05.678Z","level":"info","logger":"prefork.master","pid":411,'
        '"event":"worker killed","slot":1,"why":"it \\"hung\\"\\n","detail":"a\\nb\\n"}'
    )


def test_a_json_line_holds_the_traceback_and_what_json_does_not_know() -> None:
    line = JsonFormatter().format(make_failed_record("broken\n"))
    assert "\n" not in line
    said = json.loads(line)
    assert said["traceback"].startswith("Traceback (most recent call last):\n")
    assert said["traceback"].endswith("\nValueError: broken\n")
    assert json.loads(JsonFormatter().format(make_record(path=Path("/run"))))["path"] == "/run"


def test_a_record_too_long_for_a_pipe_is_shortened_where_it_is_longest_and_stays_a_record() -> None:
    record = make_record("worker killed", slot=1, why="x", detail="first\n" + "é\n" * 9000 + "last")
    line = JsonFormatter().format_within(record, 4095)
    assert 3900 < len(line.encode()) <= 4095
    said = json.loads(line)
    assert (said["event"], said["slot"], said["detail"][0], said["detail"][-5:]) == (
        "worker killed", 1, "…", "\nlast"
    )  # fmt: skip
    line = JsonFormatter().format_within(make_record("\x00" * 9000), 4095)
    assert len(line.encode()) <= 4095
    assert json.loads(line)["event"].endswith("\x00…")


@pytest.mark.parametrize(
    ("log_time", "stamp"),
    [("local", "[2026-01-02 04:04:05 +0100] "), ("utc", "[2026-01-02 03:04:05 +0000] "), ("none", "")],
)
def test_a_text_line_is_stamped_in_local_time_in_utc_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, log_time: str, stamp: str
) -> None:
    monkeypatch.setenv("TZ", "XST-1")
    time.tzset()
    assert TextFormatter(log_time).format(make_record()) == f"{stamp}[411] [INFO] event"


# Where they go.


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def make_handler(fd: int, *, is_json: bool = False) -> LineHandler:
    handler = LineHandler(fd)
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter("%(levelname)s %(message)s"))
    return handler


def read_all(fd: int) -> str:
    data = b""
    while True:
        try:
            data += os.read(fd, 65536)
        except BlockingIOError:
            return data.decode()


def fill(fd: int) -> None:
    os.set_blocking(fd, False)
    try:
        while True:
            os.write(fd, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(fd, True)


def test_a_full_pipe_never_blocks_and_the_dropped_lines_are_told_later(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    handler = LineHandler(write_fd)
    handler.setFormatter(TextFormatter())
    fill(write_fd)
    for _ in range(3):
        handler.emit(make_record("lost"))  # it blocked here for ever
    read_all(read_fd)
    handler.emit(make_record("found"))
    handler.emit(make_record("found again"))
    told, *found = read_all(read_fd).splitlines()
    assert re.sub(r"^\[[^\]]*\]", "[now]", told) == (
        f"[now] [{os.getpid()}] [WARNING] log lines were dropped: nobody read them lines=3"
    )
    assert found == [f"{HEAD} found", f"{HEAD} found again"]


def test_the_dropped_lines_are_told_in_json_too(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    handler = make_handler(write_fd, is_json=True)
    fill(write_fd)
    handler.emit(make_record("lost"))
    read_all(read_fd)
    handler.emit(make_record("found"))
    told, found = map(json.loads, read_all(read_fd).splitlines())
    assert (told["level"], told["logger"], told["lines"]) == ("warning", "prefork.master", 1)
    assert found["event"] == "found"


def test_a_line_that_found_room_for_its_beginning_only_is_not_continued_by_the_next(
    pipe: tuple[int, int],
) -> None:
    read_fd, write_fd = pipe
    handler = make_handler(write_fd)
    handler.emit(make_record("y" * 200_000))
    cut = read_all(read_fd)
    assert "\n" not in cut
    handler.emit(make_record("whole"))
    assert read_all(read_fd) == "\nWARNING log lines were dropped: nobody read them\nINFO whole\n"
    handler.emit(make_record("whole again"))
    assert read_all(read_fd) == "INFO whole again\n"


def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    make_handler(write_fd).emit(make_record("y" * 50_000))
    assert read_all(read_fd) == f"INFO {'y' * 50_000}\n"


def test_a_closed_descriptor_a_full_disk_and_a_reader_that_left_are_survived() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    handler = make_handler(write_fd)
    handler.emit(make_record("nobody reads"))
    os.close(write_fd)
    handler.emit(make_record("nothing is open"))
    full = os.open("/dev/full", os.O_WRONLY)
    make_handler(full).emit(make_record("no space"))
    os.close(full)


def test_a_record_that_cannot_be_formatted_is_a_line_all_the_same(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    make_handler(write_fd).emit(make_record("%d workers\n", args=("no number",)))
    assert read_all(read_fd) == "'%d workers\\n' (could not be formatted)\n"


def test_every_line_says_who_wrote_it_unless_it_says_so_itself(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    handler = LineHandler(write_fd)
    handler.setFormatter(TextFormatter("none"))
    handler.who = {"slot": 1, "gen": 2}
    handler.emit(make_record("a"))
    handler.emit(make_record("b", slot=7))
    assert read_all(read_fd) == "[411] [INFO] a slot=1 gen=2\n[411] [INFO] b slot=7 gen=2\n"


def test_a_pipe_that_another_fills_between_look_and_write_holds_nobody_up(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, write_fd = pipe
    before = os.dup(2)
    os.dup2(write_fd, 2)
    try:
        handler = LineHandler(2)
        handler.setFormatter(TextFormatter())
        fill(write_fd)
        monkeypatch.setattr("select.poll", AlwaysWritable)  # the look was a moment ago
        handler.emit(make_record("lost"))  # it blocked here for ever
    finally:
        os.dup2(before, 2)
        os.close(before)
        handler.close()
    assert handler._dropped == 1


class AlwaysWritable:
    def register(self, fd: int, events: int) -> None:
        pass

    def poll(self, limit_ms: float) -> list[int]:
        return [1]


def test_a_byte_that_was_no_utf_8_does_not_stop_a_line(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    make_handler(write_fd).emit(make_record("caf\udce9"))
    assert read_all(read_fd) == "INFO caf\\udce9\n"


@pytest.mark.parametrize(
    ("log_format", "shape"), [("auto", r"\[.*\] \[INFO\] up"), ("text", r"\["), ("json", r'\{"time":')]
)
def test_logging_is_set_up_once_at_its_level_and_in_its_format(
    pipe: tuple[int, int], log_format: str, shape: str
) -> None:
    read_fd, write_fd = pipe
    logger = logging.getLogger("prefork")
    before = (logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions)
    try:
        for _ in range(2):
            set_up_logging("info", log_format, write_fd)
        logging.getLogger("prefork.worker").info("up")
        logging.getLogger("prefork.worker").debug("not told")
        (line,) = read_all(read_fd).splitlines()
        assert re.match(shape, line)
    finally:
        logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before
        logging.getLogger("prefork.worker").manager._clear_cache()  # type: ignore[attr-defined] # levels are cached


# Log files.


def test_a_log_file_is_made_private_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "shop.log"
    for line in (b"one\n", b"two\n"):
        fd = open_log(str(path))
        assert fd is not None
        assert not os.get_inheritable(fd)
        os.write(fd, line)
        os.close(fd)
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0


def test_a_log_file_is_never_opened_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(ConfigError) as refused:
        open_log(str(tmp_path / "link"))
    assert str(refused.value) == (
        f"cannot write the log file {tmp_path}/link: it is a symbolic link\n  give the path that it points to"
    )
    assert not (tmp_path / "target").exists()
