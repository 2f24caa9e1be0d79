"""When a worker asks to be replaced: by what it has answered, by its age, by the memory that is its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefork.config.model import Config
from prefork.serve.service import REQUESTS, Counters
from prefork.system import chance, clock, memory
from prefork.worker.recycling import MEASURE_EVERY_S, Recycling


class Machine:
    """The clock, the dice and the memory that a worker sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.chance = 0.0
        self.resident_mb = self.own_mb = 10
        self.walks = 0
        self.asked: list[str] = []
        self.counters = Counters()
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        monkeypatch.setattr(chance, "draw", lambda: self.chance)
        monkeypatch.setattr(memory, "read_resident", lambda: self.resident_mb * 2**20)
        monkeypatch.setattr(memory, "read_own", self._walk)

    def recycle(self, **options: object) -> Recycling:
        recycling = Recycling(Config(app="shop:app", **options), self.counters, self.asked.append)  # type: ignore[arg-type]
        recycling.start()
        return recycling

    def _walk(self) -> int:
        self.walks += 1
        return self.own_mb * 2**20


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_without_limits_nobody_goes_and_nothing_is_measured(machine: Machine) -> None:
    recycling = machine.recycle()
    machine.now, machine.counters.cells[REQUESTS], machine.resident_mb = 10**9, 10**12, 10**9
    recycling.check()
    assert (machine.asked, machine.walks) == ([], 0)


@pytest.mark.parametrize(
    ("jitter", "drawn", "limit"),
    [("10%", 0.0, 1000), ("10%", 0.999, 1100), ("0", 0.999, 1000), ("50", 0.5, 1025), ("1", 0.6, 1001)],
)
def test_so_many_requests_and_a_random_number_more(
    machine: Machine, jitter: str, drawn: float, limit: int
) -> None:
    machine.chance = drawn
    recycling = machine.recycle(max_requests=1000, max_requests_jitter=jitter)
    machine.counters.cells[REQUESTS] = limit - 1
    recycling.check()
    assert machine.asked == []
    machine.counters.cells[REQUESTS] = limit
    recycling.check()
    recycling.check()
    assert machine.asked == ["max-requests"], "once"


@pytest.mark.parametrize(("drawn", "limit_s"), [(0.0, 60.0), (0.5, 63.0)])
def test_so_old_and_up_to_a_tenth_older(machine: Machine, drawn: float, limit_s: float) -> None:
    machine.chance = drawn
    recycling = machine.recycle(max_age_s=60.0)
    machine.now += limit_s - 0.1
    recycling.check()
    assert machine.asked == []
    machine.now += 0.2
    recycling.check()
    assert machine.asked == ["max-age"]


def test_age_counts_from_ready(machine: Machine) -> None:
    recycling = Recycling(Config(app="shop:app", max_age_s=1.0), machine.counters, machine.asked.append)
    machine.now += 100
    recycling.check()
    recycling.start()
    recycling.check()
    assert machine.asked == [], "neither before it, nor at once after a long boot"


def test_memory_of_its_own_counts_and_what_it_shares_does_not(machine: Machine) -> None:
    recycling = machine.recycle(max_memory_bytes=512 * 2**20)
    machine.resident_mb, machine.own_mb = 900, 100
    recycling.check()
    assert (machine.asked, machine.walks) == ([], 1)
    machine.own_mb = 530
    recycling.check()
    assert machine.walks == 1, "the page tables are walked now and then"
    machine.now += MEASURE_EVERY_S
    recycling.check()
    assert machine.asked == ["max-memory 530M of 512M"]


def test_a_small_worker_never_walks_its_page_tables(machine: Machine) -> None:
    recycling = machine.recycle(max_memory_bytes=512 * 2**20)
    for _ in range(100):
        machine.now += MEASURE_EVERY_S
        recycling.check()
    machine.resident_mb = machine.own_mb = 513
    recycling.check()
    assert (machine.asked, machine.walks) == (["max-memory 513M of 512M"], 1), (
        "and is seen at once when it is not"
    )


def test_two_workers_draw_different_limits() -> None:
    asked: list[str] = []
    write: Callable[[str], None] = asked.append
    config = Config(app="shop:app", max_requests=10, max_requests_jitter="1000000")
    limits = {Recycling(config, Counters(), write)._most_requests for _ in range(8)}
    assert len(limits) > 1


def test_memory_that_cannot_be_read_limits_nothing_and_is_told_of_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read() -> int:
        raise OSError("no /proc")

    monkeypatch.setattr(memory, "read_resident", read)
    recycling = machine.recycle(max_memory_bytes=20 * 2**20, max_requests=5)
    for _ in range(3):
        machine.now += MEASURE_EVERY_S
        recycling.check()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert machine.asked == []
    machine.counters.cells[REQUESTS] = 9
    recycling.check()
    assert machine.asked == ["max-requests"]
