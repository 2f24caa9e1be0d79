"""Rotation by size: what fails is told once, and a file that somebody else renamed is left alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from prefork.config.model import Config
from prefork.errors import ConfigError
from prefork.master import rotating
from prefork.master.provisions import LogFile
from prefork.master.rotating import Rotating
from prefork.system.logs import open_log


class Logs:
    """One log file, and what a master does to reopen it."""

    def __init__(self, path: Path) -> None:
        self.log = LogFile("log", str(path), open_log(str(path)))
        self.failure = ""
        self.reopened = 0

    def reopen(self, log: LogFile) -> None:
        if self.failure:
            raise ConfigError(self.failure)
        fd = open_log(log.path)
        os.dup2(fd, log.fd, inheritable=False)
        os.close(fd)
        self.reopened += 1


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    logs = Logs(tmp_path / "a.log")
    yield logs
    os.close(logs.log.fd)


@pytest.fixture
def rotator(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> Rotating:
    monkeypatch.setattr(rotating, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(rotating, "TRY_AGAIN_S", 0.0)
    return Rotating(lambda: [logs.log], logs.reopen)


def make_config(size: int, keep: int = 2) -> Config:
    return msgspec.convert({"app": "a:a", "log_max_size_bytes": size, "log_keep": keep}, Config)


def test_a_log_that_has_grown_past_the_size_is_renamed_and_made_anew(
    logs: Logs, rotator: Rotating, tmp_path: Path
) -> None:
    os.write(logs.log.fd, b"x" * 10)
    rotator.tend(make_config(10))
    assert logs.reopened == 0
    os.write(logs.log.fd, b"x")
    rotator.tend(make_config(10))
    os.write(logs.log.fd, b"new")
    assert (tmp_path / "a.log").read_bytes() == b"new"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 11


def test_without_a_size_nobody_ever_looks(logs: Logs, rotator: Rotating) -> None:
    os.write(logs.log.fd, b"x" * 10)
    rotator.tend(make_config(0))
    assert (rotator.next_deadline(), logs.reopened) == (None, 0)


def test_a_file_that_another_has_renamed_is_not_renamed_again(
    logs: Logs, rotator: Rotating, tmp_path: Path
) -> None:
    os.write(logs.log.fd, b"old" * 10)
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    (tmp_path / "a.log").write_text("theirs")
    rotator.tend(make_config(10))
    os.write(logs.log.fd, b" and ours")
    assert (tmp_path / "a.log").read_text() == "theirs and ours"
    assert (tmp_path / "a.log.1").read_text() == "old" * 10


def test_a_new_file_that_cannot_be_made_leaves_the_old_in_its_place_and_is_told_once(
    logs: Logs, rotator: Rotating, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "prefork")
    logging.getLogger("prefork").propagate = True
    logs.failure = "cannot write the log file: no space left on device"
    os.write(logs.log.fd, b"x" * 20)
    for _ in range(3):
        rotator.tend(make_config(10))
    assert (tmp_path / "a.log").read_bytes() == b"x" * 20
    assert [record.getMessage() for record in caplog.records] == ["log not rotated, it goes on growing"]
    logs.failure = ""
    rotator.tend(make_config(10))
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 20
    assert caplog.records[-1].getMessage() == "log rotated"


def test_what_is_no_file_is_never_rotated(tmp_path: Path, logs: Logs) -> None:
    null = LogFile("log", "/dev/null", logs.log.fd)
    fd = os.open("/dev/null", os.O_WRONLY)
    kept = os.dup(logs.log.fd)
    os.dup2(fd, logs.log.fd)
    Rotating(lambda: [null], logs.reopen).tend(make_config(1))
    os.dup2(kept, logs.log.fd)
    os.close(fd)
    os.close(kept)
    assert logs.reopened == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "a.log"]
