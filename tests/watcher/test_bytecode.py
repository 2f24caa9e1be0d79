"""An import after a save runs what was saved."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from prefork.watcher.bytecode import remove_stale_bytecode

SECOND_NS = 1_700_000_000 * 10**9


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "shop.py"
    save(source, "print(1)", SECOND_NS + 100)
    py_compile.compile(str(source), doraise=True)
    os.utime(find_cached(source), ns=(0, SECOND_NS + 200))
    return source


def save(source: Path, text: str, mtime_ns: int) -> None:
    source.write_text(text)
    os.utime(source, ns=(0, mtime_ns))


def find_cached(source: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(source)))


def run(source: Path) -> str:
    command = [sys.executable, "-c", "import shop"]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=source.parent
    ).stdout.strip()


def test_two_saves_of_one_length_within_a_second_run_the_second(source: Path) -> None:
    save(source, "print(2)", SECOND_NS + 300)
    assert run(source) == "1", "what Python does by itself"
    remove_stale_bytecode([str(source)])
    assert run(source) == "2"


def test_bytecode_that_is_good_or_that_python_refuses_by_itself_stays(source: Path) -> None:
    cached = find_cached(source)
    remove_stale_bytecode([str(source)])
    assert cached.exists()
    save(source, "print(22)", SECOND_NS + 300)
    remove_stale_bytecode([str(source)])
    assert cached.exists()


def test_bytecode_that_goes_by_the_contents_stays(source: Path) -> None:
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    py_compile.compile(str(source), invalidation_mode=mode)
    save(source, "print(2)", SECOND_NS + 10**12)
    remove_stale_bytecode([str(source)])
    assert find_cached(source).exists()


def test_files_without_bytecode_and_files_that_are_gone_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("")
    remove_stale_bytecode(map(str, [tmp_path / "new.py", tmp_path / "gone.py", tmp_path / "page.html"]))
