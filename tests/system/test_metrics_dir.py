"""The app's metrics have a private place that goes with the service: nothing is left behind, and nothing else goes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from prefork.system.metrics_dir import FRESH_S, PREFIX, make_metrics_dir
from tests.system.children import list_fds


def age(path: Path) -> None:
    past = path.stat().st_mtime - FRESH_S - 1
    os.utime(path, (past, past))


def test_it_is_private_and_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    before = list_fds()
    made = make_metrics_dir(None, (str(tmp_path),))
    path = Path(made.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (path / "counter_1.db").touch()
    (path / "link").symlink_to(tmp_path)
    made.remove()
    assert list(tmp_path.iterdir()) == []
    assert list_fds() <= before


def test_what_its_owner_puts_in_its_place_is_not_touched(tmp_path: Path) -> None:
    """The master may be root, and the directory belongs to the app's user."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    made = make_metrics_dir(None, (str(tmp_path),))
    Path(made.path).rename(tmp_path / "moved")
    (tmp_path / "moved" / "counter_1.db").touch()
    Path(made.path).symlink_to(precious)
    made.remove()
    assert (precious / "file").exists()
    assert list((tmp_path / "moved").iterdir()) == []


def test_those_of_masters_that_were_killed_are_removed_and_those_in_use_are_not(tmp_path: Path) -> None:
    live = make_metrics_dir(None, (str(tmp_path),))
    left, fresh, other = (tmp_path / f"{PREFIX}{name}" for name in ("left", "fresh", "file"))
    left.mkdir()
    fresh.mkdir()
    (left / "counter_1.db").touch()
    other.touch()
    for path in (Path(live.path), left, other):
        age(path)
    made = make_metrics_dir(None, (str(tmp_path),))
    assert set(tmp_path.iterdir()) == {Path(live.path), Path(made.path), fresh, other}
    live.remove()
    made.remove()


def test_the_first_place_that_takes_it_has_it(tmp_path: Path) -> None:
    made = make_metrics_dir(None, (str(tmp_path / "missing"), str(tmp_path)))
    assert Path(made.path).parent == tmp_path
    made.remove()
