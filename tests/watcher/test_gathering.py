"""Changes are told when it is quiet, and not much later however long they go on. The clock is a fake."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefork.watcher.alarms import POLL_MAX_S, POLL_S, POLL_SHARE, Polling
from prefork.watcher.main import BURST_S, QUIET_S, gather
from prefork.watcher.picking import Picker
from prefork.watcher.scanning import Scanner


class World:
    """Time passes only in pauses; `finds` is what each look finds."""

    def __init__(self, finds: list[list[str]]) -> None:
        self.now_s = 100.0
        self.finds = finds

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def look(self) -> list[str]:
        return self.finds.pop(0) if self.finds else []

    def gather(self, changed: list[str]) -> tuple[list[str], float]:
        begun = self.now_s
        return gather(changed, self.look, self.pause, lambda: self.now_s), round(self.now_s - begun, 3)


def test_one_change_is_told_after_a_moment_of_quiet() -> None:
    assert World([]).gather(["a"]) == (["a"], QUIET_S)


def test_changes_that_follow_each_other_are_told_together_and_once_each() -> None:
    assert World([["b"], ["a", "c"]]).gather(["a"]) == (["a", "b", "c"], round(3 * QUIET_S, 3))


def test_changes_that_never_end_are_told_all_the_same() -> None:
    told, took_s = World([[f"{number}"] for number in range(100)]).gather(["first"])
    assert BURST_S <= took_s < BURST_S + 1.5 * QUIET_S
    assert 1 < len(told) <= BURST_S / QUIET_S + 2


@pytest.mark.parametrize(
    ("cost_s", "interval_s"), [(0.0, POLL_S), (0.001, POLL_S), (0.03, 0.03 / POLL_SHARE), (9.0, POLL_MAX_S)]
)
def test_polling_looks_less_often_where_a_look_is_dear(cost_s: float, interval_s: float) -> None:
    pauses: list[float] = []
    polling = Polling(Scanner([], [], Picker()), pauses.append)
    for _ in range(2):
        pauses.clear()
        polling.note_look(cost_s)
        while not polling.wait():
            pass
        assert sum(pauses) == interval_s


def test_polling_looks_soon_when_one_of_the_last_files_changed(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text("1")
    scanner = Scanner([str(tmp_path)], [], Picker())
    scanner.scan()
    pauses: list[float] = []
    polling = Polling(scanner, pauses.append)
    polling.note_look(9.0)
    file.write_text("22")
    assert polling.wait()
    assert pauses == [POLL_S]
