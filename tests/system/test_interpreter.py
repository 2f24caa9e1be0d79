"""Which Python zygotes are started with: the path that was typed, as long as it leads to the one that runs us."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from prefork.system.interpreter import find_directory, find_python

TYPED = "a/link/bin/prefork"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`environment` with a Python, `link` that leads to it, and we run from the former."""
    binaries = tmp_path / "environment" / "bin"
    binaries.mkdir(parents=True)
    for name in ("python", "python3.11"):
        (binaries / name).symlink_to(os.path.realpath(sys.executable))
    (tmp_path / "link").symlink_to("environment")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(binaries / "python3.11"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    return tmp_path


@pytest.mark.parametrize(
    ("script", "interpreter", "found"),
    [
        ("{place}/link/bin/prefork", "{place}/environment/bin/python3.11", "link/bin/python"),
        ("link/bin/prefork", "{place}/environment/bin/python3.11", "link/bin/python"),
        ("/anywhere/prefork/__main__.py", "link/bin/python3.11", "link/bin/python"),
        ("/anywhere/prefork/__main__.py", "{place}/link/bin/python", "link/bin/python"),
        ("serve.py", "python3.11", "environment/bin/python"),
        ("/nowhere/bin/prefork", "/nowhere/bin/python", "environment/bin/python"),
        ("", "", "environment/bin/python"),
    ],
)
def test_the_path_that_was_typed_wins_if_it_leads_to_us(
    place: Path, monkeypatch: pytest.MonkeyPatch, script: str, interpreter: str, found: str
) -> None:
    monkeypatch.setattr(sys, "argv", [script.format(place=place)])
    monkeypatch.setattr(sys, "orig_argv", [interpreter.format(place=place)])
    assert find_python({}) == str(place / found)


def test_outside_of_an_environment_the_version_stays_in_the_name(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setattr(sys, "argv", ["prefork"])
    monkeypatch.setattr(sys, "orig_argv", ["python3.11"])
    assert find_python({}) == str(place / "environment/bin/python3.11")


def test_a_relative_path_counts_from_the_directory_as_the_shell_names_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place / "link")
    monkeypatch.setattr(sys, "argv", ["bin/prefork"])
    monkeypatch.setattr(sys, "orig_argv", ["x"])
    assert find_python({"PWD": str(place / "link")}) == str(place / "link/bin/python")
    assert find_python({"PWD": "/tmp"}) == str(place / "environment/bin/python")
    assert find_directory({"PWD": "/no\0where"}) == str(place / "environment")
