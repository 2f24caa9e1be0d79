"""Small files of one user's: whole or not at all, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefork.errors import PreforkError
from prefork.system.keeping import make_directory, read_kept, write_kept


def test_a_file_is_replaced_at_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_text("old")
    path.chmod(0o644)
    with path.open() as reader:
        write_kept(str(path), b"new", "file")
        assert reader.read() == "old"
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_kept(str(path), "file") == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["saved.json"]


def test_what_lies_behind_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("theirs")
    link = tmp_path / "saved.json"
    link.symlink_to(tmp_path / "victim")
    with pytest.raises(PreforkError, match=r"cannot use the file .*saved.json: "):
        read_kept(str(link), "file")
    write_kept(str(link), b"ours", "file")
    assert (tmp_path / "victim").read_text() == "theirs"
    assert not link.is_symlink()


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_what_others_may_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "saved.json"
    path.write_text("{}")
    path.chmod(mode)
    with pytest.raises(PreforkError, match="others may write it"):
        read_kept(str(path), "file")


def test_nothing_there_is_no_error_and_a_directory_that_cannot_be_made_is_one(tmp_path: Path) -> None:
    assert read_kept(str(tmp_path / "no"), "file") is None
    (tmp_path / "file").write_text("")
    with pytest.raises(PreforkError, match=r"cannot write the log file .*file/sub"):
        make_directory(str(tmp_path / "file/sub"), 0o700, "log file")
