"""`prefork startup`: units that systemd accepts, with what this machine has."""

from __future__ import annotations

import getpass
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from prefork.cli.startup import quote_word
from tests.cli.program import run_program


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "prefork.toml").write_text(
        '[app.shop]\napp = "shop:app"\ngraceful-timeout = "90s"\n[profile.production]\nworkers = 2\n'
    )
    return tmp_path


def list_settings(unit: str) -> dict[str, str]:
    lines = [line for line in unit.splitlines() if "=" in line and not line.startswith("#")]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def test_a_unit_runs_the_app_as_it_was_asked_for(directory: Path) -> None:
    ended = run_program("startup", "shop", "--profile", "production", cwd=directory)
    assert (ended.code, ended.stderr) == (0, "")
    settings = list_settings(ended.stdout)
    assert settings["WorkingDirectory"] == str(directory)
    assert settings["User"] == getpass.getuser()
    assert settings["Type"] == "notify"
    assert float(settings["TimeoutStopSec"]) > 90
    program, *arguments = shlex.split(settings["ExecStart"])
    assert Path(program).exists()
    assert arguments[-3:] == ["run", "shop", "--profile=production"]
    assert (
        "prefork startup shop --profile=production | sudo tee /etc/systemd/system/shop.service"
        in ended.stdout
    )


def test_no_unit_is_made_for_an_app_that_the_file_does_not_have(directory: Path) -> None:
    ended = run_program("startup", "shopp", cwd=directory)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: no app shopp\n  there are: shop\n")


def test_a_unit_holds_no_secret(directory: Path) -> None:
    ended = run_program("startup", "shop", "-e", "TOKEN=secret", cwd=directory)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == "error: everybody may read a unit, so --env must not be in it\n  use --env-file\n"


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("--workers=4", "--workers=4"),
        ("a b", '"a b"'),
        ("50%", "50%%"),
        ("$HOME", "$$HOME"),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", "back\\\\slash"),
        ("", '""'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, quoted: str) -> None:
    assert quote_word(word) == quoted


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize(
    "arguments", [("shop",), ("shop", "-w", "50%", "--access-log", "/tmp/a b$x.log"), ("--resurrect",)]
)
def test_systemd_accepts_what_is_printed(directory: Path, arguments: tuple[str, ...]) -> None:
    ended = run_program("startup", *arguments, cwd=directory)
    unit = directory / "shop.service"
    unit.write_text(ended.stdout)
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
