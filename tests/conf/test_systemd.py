"""systemd takes the units as they are, and finds little that they may do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "conf/systemd"
ANALYZE = shutil.which("systemd-analyze")

pytestmark = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, "--no-pager", *arguments], check=False, capture_output=True, text=True, timeout=30, cwd=cwd
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units, with a program that is there."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/srv/%i/.venv/bin/prefork", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_the_units_are_valid(folder: Path) -> None:
    found = analyze("verify", "--man=no", "./prefork@shop.service", "./prefork@shop.socket", cwd=folder)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_the_service_may_do_little(folder: Path) -> None:
    found = analyze("security", "--offline=true", "--threshold=29", "./prefork@.service", cwd=folder)
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", found.stdout)
    assert exposure is not None, found.stderr
    assert float(exposure[1]) < 2
    assert found.returncode == 0


def test_a_stop_has_time_for_the_default_drain() -> None:
    text = (UNITS / "prefork@.service").read_text()
    stop_s = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop_s is not None
    assert int(stop_s[1]) >= 30 + 15  # graceful-timeout, and who has to be killed and reaped
    assert "KillMode=mixed" in text  # else workers get a TERM of their own before shutdown-delay is over
