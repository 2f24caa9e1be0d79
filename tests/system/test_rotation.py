"""Renaming a log: the chain moves by one, and what cannot be done changes nothing under the log's own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefork.system.rotation import list_rotated, rotate, take_back


def write_chain(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).write_text(name)
    return str(folder / "a.log")


def read_all(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.is_file()}


def test_each_moves_by_one_and_the_oldest_is_forgotten(tmp_path: Path) -> None:
    path = write_chain(tmp_path, "a.log", "a.log.1", "a.log.2", "a.log.3")
    rotate(path, 3)
    assert read_all(tmp_path) == {"a.log.1": "a.log", "a.log.2": "a.log.1", "a.log.3": "a.log.2"}


def test_a_gap_in_the_chain_stays_a_gap(tmp_path: Path) -> None:
    path = write_chain(tmp_path, "a.log", "a.log.2")
    rotate(path, 5)
    assert read_all(tmp_path) == {"a.log.1": "a.log", "a.log.3": "a.log.2"}
    assert list_rotated(path) == [f"{path}.1", f"{path}.3"]


def test_what_cannot_be_renamed_leaves_the_log_where_it_is(tmp_path: Path) -> None:
    path = write_chain(tmp_path, "a.log", "a.log.1")
    (tmp_path / "a.log.2").mkdir()
    with pytest.raises(IsADirectoryError):
        rotate(path, 2)
    assert read_all(tmp_path) == {"a.log": "a.log", "a.log.1": "a.log.1"}


def test_a_rename_is_taken_back_unless_somebody_made_a_new_file(tmp_path: Path) -> None:
    path = write_chain(tmp_path, "a.log.1")
    take_back(path)
    assert read_all(tmp_path) == {"a.log": "a.log.1"}
    path = write_chain(tmp_path, "a.log", "a.log.1")
    take_back(path)
    assert read_all(tmp_path) == {"a.log": "a.log", "a.log.1": "a.log.1"}
