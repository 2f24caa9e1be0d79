"""The app's metrics, in files as prometheus_client's own code writes them: nothing is lost with a worker, nothing is
counted twice, and a thousand workers that are gone cost what one does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.values import MultiProcessValue

from prefork.admin.app_metrics import AppMetrics
from prefork.admin.tree import Process


class Shop:
    """A directory of metrics, and the processes that wrote there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.living: set[int] = set()
        self.metrics = AppMetrics(str(directory), is_ours=True, is_gone=lambda pid: pid not in self.living)

    def count(self, pid: int, by: float = 1.0, *, all_kinds: bool = True) -> None:
        """What process `pid` counts of each kind, or only of the commonest."""
        self.living.add(pid)
        value: Any = MultiProcessValue(lambda: pid)
        value("counter", "hits", "hits_total", ("path",), ("/é\n",), "Hits.").inc(by)
        if all_kinds:
            self._count_others(pid, by, value)
        value.close_all_files()

    def _count_others(self, pid: int, by: float, value: Any) -> None:
        value("summary", "size", "size_sum", (), (), "Size.").inc(by)
        value("histogram", "took", "took_bucket", ("le",), ("0.1",), "Took.").inc(by)
        value("histogram", "took", "took_bucket", ("le",), ("+Inf",), "Took.").inc(by)
        value("histogram", "took", "took_sum", (), (), "Took.").inc(by)
        for mode in ("all", "liveall", "livesum", "livemax", "sum", "min", "max"):
            value("gauge", f"g_{mode}", f"g_{mode}", (), (), "Of pid.", multiprocess_mode=mode).set(pid)
        recent = value("gauge", "g_recent", "g_recent", (), (), "Of pid.", multiprocess_mode="mostrecent")
        recent.set(pid, 1000.0 + pid)

    def read(self) -> dict[str, float]:
        text = self.metrics.render("classic", ())
        assert self.metrics.trouble == ""
        return {
            sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def list_names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return Shop(tmp_path)


SUMS = ("hits_total{/é\n}", "size_sum", "took_bucket{0.1}", "took_bucket{+Inf}", "took_sum", "took_count")


def test_counters_and_histograms_are_the_sum_of_the_living_and_the_dead(shop: Shop) -> None:
    shop.count(11, by=1)
    shop.count(12, by=10)
    before = shop.read()
    shop.living = {12}
    shop.count(13, by=100)
    after = shop.read()
    assert [before[key] for key in SUMS] == [11, 11, 11, 22, 11, 22]
    assert [after[key] for key in SUMS] == [111, 111, 111, 222, 111, 222]
    assert not any(name.endswith("_11.db") for name in shop.list_names())


def test_gauges_of_the_dead_do_what_their_mode_says(shop: Shop) -> None:
    for pid in (11, 12, 13):
        shop.count(pid)
    shop.read()
    shop.living = {12}
    assert {key: value for key, value in shop.read().items() if key.startswith("g_")} == {
        "g_all{12}": 12,
        "g_liveall{12}": 12,
        "g_livesum": 12,
        "g_livemax": 12,
        "g_sum": 36,
        "g_min": 11,
        "g_max": 13,
        "g_recent": 13,
    }


def test_a_thousand_workers_that_are_gone_leave_as_many_files_as_one(shop: Shop) -> None:
    sizes = []
    for first in range(100, 1100, 20):
        for pid in range(first, first + 20):
            shop.count(pid, all_kinds=pid % 20 == 0)
        shop.living = set()
        assert shop.read()["hits_total{/é\n}"] == first + 20 - 100
        sizes.append((len(shop.list_names()), sum(path.stat().st_size for path in shop.directory.iterdir())))
    assert len(sizes) == 50
    assert set(sizes) == {sizes[0]}, "number and size of the files"
    assert sizes[0][0] == 7


def test_killed_at_any_moment_while_folding_it_neither_loses_nor_doubles(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    for steps in range(1, 200):
        shop.count(1000 + steps)
        shop.count(5000 + steps, all_kinds=False)
        shop.living = set()
        left = [steps]

        def dies(real: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    raise KilledError
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", dies(Path.replace))
            patched.setattr(Path, "unlink", dies(Path.unlink))
            patched.setattr(Path, "write_bytes", dies(Path.write_bytes))
            patched.setattr(MmapedDict, "write_value", dies(MmapedDict.write_value))
            try:
                shop.metrics.fold()
            except KilledError:
                was_killed = True
            else:
                was_killed = False
        assert shop.read()["hits_total{/é\n}"] == 2 * steps, f"killed at step {steps}"
        if not was_killed:
            break
    else:
        raise AssertionError("it never came to its end")
    assert steps > 30
    assert not [name for name in shop.list_names() if not name.endswith("_folded.db")]


def test_who_only_imports_the_app_and_sets_no_gauge_does_not_count_as_the_least(shop: Shop) -> None:
    shop.count(11)
    value: Any = MultiProcessValue(lambda: 10)
    value("gauge", "g_min", "g_min", (), (), "Of pid.", multiprocess_mode="min")
    value("counter", "hits", "hits_total", ("path",), ("/new",), "Hits.")
    value.close_all_files()
    shop.living.add(10)
    shop.metrics.note([Process(10, "zygote", 0, None, 0.0)])
    found = shop.read()
    assert (found["g_min"], found["hits_total{/new}"]) == (11, 0)
    shop.living.discard(10)
    found = shop.read()
    assert (found["g_min"], found["hits_total{/new}"]) == (11, 0)


def test_files_of_others_in_a_directory_of_the_users_are_shown_and_never_folded(shop: Shop) -> None:
    shop.count(11)
    shop.count(12)
    theirs = AppMetrics(str(shop.directory), is_ours=False, is_gone=lambda _pid: True)
    theirs.note([Process(12, "worker", 0, None, 0.0)])
    theirs.fold()
    names = shop.list_names()
    assert "counter_11.db" in names
    assert "counter_12.db" not in names
    assert shop.read()["size_sum"] == 2


def test_what_is_no_such_file_hides_nothing_else(shop: Shop) -> None:
    shop.count(11)
    (shop.directory / "counter_12.db").touch()  # just being made
    (shop.directory / "counter_13.db").write_bytes(b"\xff" * 100)
    (shop.directory / "gauge_14.db").write_bytes(b"no")
    (shop.directory / "counter_x.db").write_bytes(b"\0" * 4096)
    shop.living |= {12, 13, 14}
    assert shop.read()["size_sum"] == 1
    shop.living = set()
    assert shop.read()["size_sum"] == 1


def test_names_that_are_preforks_are_preforks(shop: Shop) -> None:
    shop.count(11)
    assert "hits_total" not in shop.metrics.render("classic", ["hits"])
    assert "took_sum" in shop.metrics.render("classic", ["hits"])


def test_without_prometheus_client_they_are_left_out_and_that_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.count(11)
    monkeypatch.setitem(sys.modules, "prefork.admin.folding", None)
    assert shop.metrics.render("classic", ()) == ""
    assert shop.metrics.trouble.endswith("pip install 'prefork[metrics]'")


def test_nothing_is_imported_for_an_app_without_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prefork.admin.folding", None)
    for directory in (str(tmp_path), "", str(tmp_path / "missing")):
        metrics = AppMetrics(directory, is_ours=True)
        metrics.fold()
        assert (metrics.render("openmetrics", ()), metrics.trouble) == ("", "")
