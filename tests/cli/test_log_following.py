"""Following: every line once, in order, whatever becomes of the file meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.cli import log_following
from prefork.cli.log_following import Follower
from prefork.system.rotation import empty, rotate

HEAD = "[2026-01-01 12:00:00 +0000] [7] [INFO] "


class Followed:
    """A log, who writes to it, and who follows it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.follower = Follower(str(path))

    def write(self, *words: str) -> None:
        with self.path.open("a") as file:
            file.write("".join(f"{HEAD}{word}\n" for word in words))

    def seen(self) -> list[str]:
        return [entry.text.decode().removeprefix(HEAD) for entry in self.follower.look()]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Followed]:
    path = tmp_path / "a.log"
    path.write_text(f"{HEAD}before\n")
    followed = Followed(path)
    yield followed
    followed.follower.close()


def test_only_what_comes_is_told_and_once(log: Followed) -> None:
    assert log.seen() == []
    log.write("one", "two")
    assert log.seen() == ["one", "two"]
    assert log.seen() == []


def test_a_line_is_told_when_it_is_whole(log: Followed) -> None:
    with log.path.open("a") as file:
        file.write(f"{HEAD}hal")
        file.flush()
        assert log.seen() == []
        file.write("f\n")
    assert log.seen() == ["half"]


def test_a_rotation_loses_nothing_of_those_who_still_write_to_the_old_file(log: Followed) -> None:
    with log.path.open("a") as late:
        log.write("one")
        rotate(str(log.path), 5)
        log.write("two")
        assert log.seen() == ["one", "two"]
        late.write(f"{HEAD}late\n")
        late.flush()
        log.write("three")
        assert log.seen() == ["late", "three"]
    for _ in range(log_following.LOOKS_AFTER_RENAME + 1):
        log.seen()
    assert len(log.follower._readings) == 1


def test_files_that_came_and_went_between_two_looks_are_read_in_order(log: Followed) -> None:
    log.write("one")
    for word in ("two", "three", "four"):
        rotate(str(log.path), 5)
        log.write(word)
    assert log.seen() == ["one", "two", "three", "four"]


def test_a_log_that_was_emptied_is_read_from_its_new_beginning(log: Followed) -> None:
    log.write("one", "two")
    assert log.seen() == ["one", "two"]
    empty(str(log.path))
    log.write("three")
    assert log.seen() == ["three"]


def test_a_log_that_is_not_there_yet_is_waited_for_and_one_that_was_removed_too(tmp_path: Path) -> None:
    log = Followed(tmp_path / "b.log")
    assert log.seen() == []
    log.write("one")
    assert log.seen() == ["one"]
    log.path.unlink()
    assert log.seen() == []
    log.write("two")
    assert log.seen() == ["two"]
    log.follower.close()
