"""The last entries of a log: the same from its end as from its beginning, and cheap in a large file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefork.cli import log_reading
from prefork.cli.log_entries import Entry, group_forward
from prefork.cli.log_reading import read_last

HEAD = "[2026-01-01 12:00:00 +0000] [7] [INFO] "


def all_of_them(_: Entry) -> bool:
    return True


def read_texts(path: Path, count: int) -> list[str]:
    return [entry.text.decode() for entry in read_last(str(path), count, all_of_them)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.sampled_from([HEAD + "a", HEAD + "b" * 30, "  more", "", '{"event":"x"}']), max_size=12),
    st.integers(1, 40),
    st.booleans(),
)
def test_read_from_the_end_is_read_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], block: int, has_end: bool
) -> None:
    monkeypatch.setattr(log_reading, "BLOCK_BYTES", block)
    path = tmp_path / "a.log"
    path.write_text("\n".join(lines) + ("\n" if lines and has_end else ""))
    data = path.read_bytes()
    whole = data.removesuffix(b"\n").split(b"\n") if data.strip(b"\n") else []
    expected = [entry.text for entry in group_forward(whole)]
    found = [entry.text for entry in read_last(str(path), 1000, all_of_them)]
    assert [each.strip(b"\n") for each in found if each.strip()] == [
        each.strip(b"\n") for each in expected if each.strip()
    ]


def test_it_goes_on_in_what_was_rotated_and_stops_when_there_is_enough(tmp_path: Path) -> None:
    for name, number in (("a.log.2", 1), ("a.log.1", 2), ("a.log", 3)):
        (tmp_path / name).write_text(f"{HEAD}{number}\n{HEAD}{number}!\n")
    path = tmp_path / "a.log"
    assert read_texts(path, 3) == [f"{HEAD}2!", f"{HEAD}3", f"{HEAD}3!"]
    assert len(read_texts(path, 100)) == 6
    assert read_last(str(path), 100, lambda entry: entry.text.endswith(b"1"))[0].text.endswith(b"1")


def test_of_five_gigabytes_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("wb") as file:
        file.truncate(5 << 30)  # a hole: it has the size and costs no disk
        file.seek(0, os.SEEK_END)
        file.write(f"\n{HEAD}one\n{HEAD}two\n".encode())
    before = os.times().user + os.times().system
    assert read_texts(path, 2) == [f"{HEAD}one", f"{HEAD}two"]
    assert os.times().user + os.times().system - before < 0.2


def test_what_is_rare_is_looked_for_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reading, "SEARCH_BYTES", 1000)
    path = tmp_path / "a.log"
    path.write_text(f"{HEAD}rare\n" + f"{HEAD}x\n" * 1000)
    assert read_last(str(path), 1, lambda entry: b"rare" in entry.text) == []


def test_a_log_that_is_not_there_is_the_callers_to_explain(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_last(str(tmp_path / "a.log"), 1, all_of_them)
