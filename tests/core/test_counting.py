"""What happened is counted where it is decided: ways to lose a worker, ends of a reload. And scaling to a number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.policy import Policy
from prefork.core.reasons import ASKED, Reason, classify_end, classify_retirement
from prefork.core.rollout import find_stage
from tests.core.world import World, make_world


def retire(world: World, reason: str) -> None:
    world.pass_time(2)
    world.retires(1, reason)
    world.boot_all()


def hang(world: World) -> None:
    world.stuck.add(1)
    world.pass_time(40)


def die_at_boot(world: World) -> None:
    world.pass_time(2)
    world.worker_exits(1, "SIGSEGV")
    world.worker_exits(3, "exit 1")


@pytest.mark.parametrize(
    ("happens", "counted"),
    [
        (lambda w: retire(w, "max-requests"), {"max-requests": 1}),
        (lambda w: retire(w, "max-memory 80M of 70M"), {"max-memory": 1}),
        (lambda w: retire(w, "max-age"), {"max-age": 1}),
        (lambda w: retire(w, "cache is poisoned"), {"app": 1}),
        (lambda w: retire(w, ASKED), {"asked": 1}),
        (hang, {"hung": 1}),
        (lambda w: w.worker_exits(1, "SIGSEGV (core dumped)"), {"crash": 1}),
        (lambda w: w.worker_exits(1, "SIGKILL", killed=True), {"killed": 1}),
        (lambda w: w.worker_exits(1, "exit 0"), {"exit": 1}),
        (die_at_boot, {"crash": 1, "boot": 1}),
        (lambda w: w.tell(on.WorkerDraining(1, "SIGTERM")), {"left": 1}),
        (lambda w: w.tell(on.WorkerMisbehaved(1, "nonsense")), {"misbehaved": 1}),
        (lambda w: w.tell(on.ScaleAsked(-1)), {}),
        (lambda w: w.tell(on.StopAsked(quick=False, reason="TERM")), {}),
    ],
)
def test_each_way_to_lose_a_worker_is_counted_by_its_reason(
    happens: Callable[[World], object], counted: dict[Reason, int]
) -> None:
    world = make_world(workers=2)
    happens(world)
    fleet = world.arbiter.fleet
    assert fleet.history.restarts == counted
    assert sum(slot.restarts for slot in fleet.slots.values()) == sum(counted.values()), "one definition"


def test_a_worker_told_to_drain_is_not_counted_when_it_ends() -> None:
    world = make_world(workers=2)
    retire(world, "max-requests")
    world.everyone_obeys()
    assert world.arbiter.fleet.history.restarts == {"max-requests": 1}
    assert world.arbiter.fleet.slots[0].last_reason == "max-requests"


def test_reloads_are_counted_by_how_they_end() -> None:
    world = make_world(workers=2)
    history = world.arbiter.fleet.history
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.boot_all()
    assert (history.reloads, history.rollbacks, history.last_reload) == (1, 0, "ok")
    assert history.restarts == {}, "a reload is no restart"
    assert [slot.restarts for slot in world.arbiter.fleet.slots.values()] == [0, 0], "nor in any slot"
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.tell(on.ZygoteFailed(3, "ImportError"))
    assert (history.reloads, history.rollbacks, history.last_reload) == (1, 1, "ImportError")
    world.tell(on.ReloadRefused("port in use"))
    assert (history.reloads, history.rollbacks, history.last_reload) == (1, 1, "refused: port in use")


def test_a_rollout_says_at_which_step_it_is() -> None:
    world = make_world(workers=2)
    fleet = world.arbiter.fleet
    stages: list[str] = []

    def note() -> None:
        assert fleet.rollout is not None
        stages.append(find_stage(fleet, fleet.rollout))

    world.tell(on.ReloadAsked(Policy(workers=2)))
    note()
    world.zygote_ready(2)
    note()
    world.worker_ready(3)
    note()
    world.pass_time(1)
    note()
    world.worker_ready(4)
    note()
    for serial in (1, 2):
        world.leaves_rotation(serial)
    assert stages == ["importing", "canary", "settling", "rolling", "draining"]
    assert fleet.rollout is None


@pytest.mark.parametrize(("to", "workers"), [(5, 5), (2, 2), (1, 1), (10_000, 64)])
def test_scaling_to_a_number_stays_within_the_scoreboard(to: int, workers: int) -> None:
    world = make_world(workers=2)
    world.tell(on.ScaleAsked(to=to))
    assert world.arbiter.fleet.target == workers


def test_scaling_to_a_number_brings_parked_workers_back() -> None:
    world = make_world(workers=2)
    world.tell(on.ParkAsked())
    world.tell(on.ScaleAsked(to=3))
    world.boot_all()
    assert (world.arbiter.fleet.target, len(world.serving())) == (3, 3)


@pytest.mark.parametrize(
    ("how", "booting", "killed", "reason"),
    [
        ("signal 40", False, False, "crash"),
        ("unknown", False, False, "exit"),
        ("SIGKILL", True, True, "killed"),
        ("exit 3", True, False, "boot"),
    ],
)
def test_ends_in_words_become_reasons(how: str, booting: bool, killed: bool, reason: str) -> None:  # a table
    assert classify_end(how, was_booting=booting, killed=killed) == reason


@pytest.mark.parametrize("words", ["", "max-", "max-requests2", "max-memoryless", "MAX-AGE"])
def test_an_apps_words_never_make_a_new_label(words: str) -> None:
    assert classify_retirement(words) == "app"


def test_a_worker_that_an_operator_wants_replaced_drains_behind_its_successor() -> None:
    world = make_world(workers=2)
    world.pass_time(2)
    world.asked.add(2)
    world.tell(on.ReplaceAsked(1))
    assert world.told_to_go == set()
    world.boot_all()
    assert (world.told_to_go, world.serving()) == ({2}, [(0, 1), (1, 1)])
    assert world.arbiter.fleet.history.restarts == {"asked": 1}


def test_a_slot_that_was_given_up_is_tried_again_when_an_operator_asks() -> None:
    world = make_world(workers=2, max_restarts=0)
    world.pass_time(2)
    world.worker_exits(2)
    world.worker_ready(3)
    world.worker_exits(3)
    world.pass_time(60)
    assert world.arbiter.fleet.slots[1].failed
    world.tell(on.ReplaceAsked(1))
    world.boot_all()
    assert world.serving() == [(0, 1), (1, 1)]


def test_a_slot_that_waits_for_its_turn_forks_at_once_when_an_operator_asks() -> None:
    world = make_world(workers=2)
    world.pass_time(2)
    for serial in (2, 3, 4, 5):
        world.worker_exits(serial)
        world.pass_time(1)
        world.boot_all()
    world.worker_exits(max(world.alive))
    assert world.arbiter.fleet.slots[1].is_vacant()
    assert [type(action) for action in world.tell(on.ReplaceAsked(1))] == [do.ForkWorker]


def test_replacing_what_is_not_there_or_while_stopping_does_nothing() -> None:
    world = make_world(workers=2)
    assert world.tell(on.ReplaceAsked(7)) == []
    world.tell(on.StopAsked(quick=False, reason="TERM"))
    assert world.tell(on.ReplaceAsked(0)) == []
