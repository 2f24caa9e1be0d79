"""Loops that hang are told of while they do, once each, and nobody is killed for it."""

from __future__ import annotations

import pytest

from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.stalls import PER_MINUTE
from tests.core.world import World, make_world


def stalls_told(actions: list[do.Action]) -> list[do.TellStall]:
    return [action for action in actions if isinstance(action, do.TellStall)]


def test_a_loop_that_hangs_has_its_stacks_dumped_and_told_once_while_it_lasts() -> None:
    world = make_world(workers=2, slow_s=1.0)
    world.stuck.add(1)
    assert world.pass_time(1.4) == []
    assert world.pass_time(0.2) == [do.DumpStacks(1)]
    (told,) = world.pass_time(20)
    assert isinstance(told, do.TellStall)
    assert (told.serial, told.untold) == (1, 0)
    assert told.stalled_s == pytest.approx(1.4, abs=0.01)


def test_a_loop_that_runs_again_is_told_and_watched_anew() -> None:
    world = make_world(workers=1, slow_s=1.0)
    for _ in range(2):
        world.stuck.add(1)
        assert len(stalls_told(world.pass_time(5))) == 1
        world.stuck.discard(1)
        assert world.pass_time(5) == []
    again = [report for report in world.reports if report.event == "worker runs again"]
    assert len(again) == 2
    assert float(again[0].fields["stalled_ms"]) == pytest.approx(4750, abs=500)


def test_a_loop_that_beats_is_never_told_of_and_the_master_wakes_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world(workers=16, slow_s=1.0)
    woken: list[float] = []
    wake = World.wake

    def count(world: World) -> list[do.Action]:
        woken.append(world.now)
        return wake(world)

    monkeypatch.setattr(World, "wake", count)
    assert world.pass_time(100) == []
    assert len(woken) <= 100


def test_of_many_stalls_some_are_told_and_the_others_counted() -> None:
    world = make_world(workers=1, slow_s=1.0)
    told = []
    for _ in range(15):
        world.stuck.add(1)
        told += stalls_told(world.pass_time(2.5))
        world.stuck.discard(1)
        world.pass_time(0.5)
    assert len(told) == PER_MINUTE
    world.pass_time(60)
    world.stuck.add(1)
    (last,) = stalls_told(world.pass_time(3))
    assert last.untold == 5


def test_a_worker_that_is_killed_for_its_stall_is_dumped_again() -> None:
    world = make_world(workers=1, slow_s=1.0, timeout_s=10.0)
    world.stuck.add(1)
    done = [action for action in world.pass_time(10.5) if not isinstance(action, do.ForkWorker)]
    assert [type(action) for action in done] == [do.DumpStacks, do.TellStall, do.DumpStacks, do.KillWorker]


def test_a_master_that_was_away_itself_blames_nobody() -> None:
    world = make_world(workers=2, slow_s=1.0)
    world.pass_time(1)
    world.arbiter.next_deadline()
    world.now += 30  # suspended, and with it everybody
    assert [action for action in world.wake() if isinstance(action, do.DumpStacks)] == []
    assert world.pass_time(5) == []


def test_who_is_not_ready_yet_owes_no_beat_and_zero_turns_it_off() -> None:
    world = make_world(workers=1, slow_s=0.0)
    world.stuck.add(1)
    assert world.pass_time(20) == []


def test_a_stall_that_was_asked_about_is_not_told_after_a_sleep_of_our_own() -> None:
    """Nobody ran meanwhile: what the loop did is unknown, and the time was not its own."""
    world = make_world(workers=1, slow_s=1.0)
    world.stuck.add(1)
    assert world.pass_time(1.6) == [do.DumpStacks(1)]
    world.now += 3600
    assert stalls_told(world.tell(on.Woke(dict(world.ticks)))) == []
    world.stuck.discard(1)
    assert world.pass_time(20) == []
