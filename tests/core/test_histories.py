"""What the Arbiter decides, told as histories: what happened, and the actions expected, whole."""

from __future__ import annotations

from typing import Any

import pytest

from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.policy import Policy
from prefork.core.states import ServiceState
from tests.core.world import World, make_world


def test_the_start_imports_first_and_then_forks_every_slot_at_once() -> None:
    world = World(Policy(workers=2))
    assert world.tell(on.Start()) == [do.StartZygote(1)]
    assert world.zygote_ready(1) == [do.ForkWorker(1, 0, 1, 0, 2), do.ForkWorker(2, 1, 1, 1, 2)]
    assert world.arbiter.state() is ServiceState.STARTING
    assert world.worker_ready(1) == []
    assert world.worker_ready(2) == []
    assert world.arbiter.state() is ServiceState.SERVING
    assert world.events() == ["worker ready", "worker ready", "serving"]


def test_an_app_that_cannot_be_imported_ends_the_start_with_exit_3() -> None:
    world = World(Policy(workers=2))
    world.tell(on.Start())
    assert world.tell(on.ZygoteFailed(1, "ImportError")) == [do.KillZygote(1), do.CloseListeners()]
    assert world.zygote_exits(1, "exit 0") == [do.Exit(3, "ImportError")]


def test_the_start_ends_with_exit_3_only_when_the_last_worker_failed() -> None:
    world = World(Policy(workers=2))
    world.tell(on.Start())
    world.zygote_ready(1)
    assert world.worker_exits(1) == [do.ForgetWorker(1)]
    assert world.worker_exits(2) == [do.ForgetWorker(2), do.DismissZygote(1), do.CloseListeners()]
    assert world.zygote_exits(1, "exit 0") == [do.Exit(3, "no worker could be started: exit 1")]
    assert [r.event for r in world.reports if r.level == "warning"] == ["worker exited"], (
        "told once, not per worker"
    )


def test_one_worker_that_becomes_ready_saves_the_start() -> None:
    world = World(Policy(workers=2))
    world.tell(on.Start())
    world.zygote_ready(1)
    world.worker_exits(1)
    world.worker_ready(2)
    world.pass_time(5)
    world.boot_all()
    assert world.serving() == [(0, 1), (1, 1)]


def test_a_worker_that_lived_long_enough_is_replaced_at_once() -> None:
    world = make_world(workers=2)
    world.pass_time(10)
    assert world.worker_exits(1) == [do.ForgetWorker(1), do.ForkWorker(3, 0, 1, 0, 2)]


def test_one_broken_slot_backs_off_and_never_slows_the_healthy_ones() -> None:
    world = make_world(workers=2)
    world.pass_time(10)
    world.worker_exits(1)
    waits = []
    for serial in range(3, 8):
        world.worker_ready(serial)
        died = world.now
        assert world.worker_exits(serial) == [do.ForgetWorker(serial)]
        while serial + 1 not in world.alive:
            world.pass_time(0.01)
        waits.append(round(world.now - died, 1))
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert world.worker_exits(2) == [do.ForgetWorker(2), do.ForkWorker(9, 1, 1, 1, 2)], (
        "the healthy slot is at once"
    )


def test_a_slot_that_settles_is_forgiven() -> None:
    world = make_world(workers=2)
    world.pass_time(10)
    world.worker_exits(1)
    world.worker_ready(3)
    world.worker_exits(3)
    world.pass_time(0.2)
    world.worker_ready(4)
    world.pass_time(2)
    assert world.worker_exits(4) == [do.ForgetWorker(4), do.ForkWorker(5, 0, 1, 0, 2)]


def test_a_service_whose_every_worker_dies_young_forks_at_most_8_times_in_10_seconds() -> None:
    world = make_world(workers=4)
    end = world.now + 10
    born = dict.fromkeys(world.alive, world.now)
    while world.now < end:
        world.pass_time(0.05)
        for serial in list(world.booting):
            born[serial] = world.now
            world.worker_ready(serial)
        for serial in list(world.alive):
            if world.now - born[serial] >= 0.3:
                world.worker_exits(serial)
    assert world.forks <= 8
    assert world.exit_code is None, "a service that once served does not end by itself"


def test_after_max_restarts_the_slot_is_failed_and_a_reload_gives_it_a_new_chance() -> None:
    world = make_world(workers=1, max_restarts=3)
    for serial in range(1, 5):
        world.worker_exits(serial)
        world.pass_time(35)
        if serial < 4:
            world.worker_ready(serial + 1)
    assert "slot failed" in world.events()
    assert world.alive == {}
    assert world.arbiter.state() is ServiceState.DEGRADED
    world.tell(on.ReloadAsked(Policy(workers=1)))
    world.boot_all()
    assert world.serving() == [(0, 2)]


def test_sigkill_from_outside_proves_nothing_about_the_app() -> None:
    world = make_world(workers=2)
    for _ in range(20):
        for serial in list(world.alive):
            world.worker_exits(serial, "SIGKILL", killed=True)
        world.pass_time(1.3)
        world.boot_all()
    assert world.serving() == [(0, 1), (1, 1)], "back within a second and a bit, however long the storm"


def test_a_stuck_worker_is_dumped_then_killed_and_its_slot_filled_at_once() -> None:
    world = make_world(workers=2, timeout_s=30, slow_s=0)
    world.stuck.add(1)
    assert world.pass_time(29.5) == []
    actions = world.pass_time(1)
    assert actions == [
        do.DumpStacks(1),
        do.ForkWorker(3, 0, 1, 2, 2),
        do.KillWorker(1, "its loop has been stuck for 30.0 s (timeout)"),
    ]


def test_a_worker_that_beats_late_but_in_time_is_left_alone() -> None:
    world = make_world(workers=1, timeout_s=30, slow_s=0)
    world.stuck.add(1)
    world.pass_time(29)
    world.ticks[1] = world.now
    assert world.pass_time(29) == []


def test_a_tick_from_the_future_does_not_make_immortal() -> None:
    world = make_world(workers=1, timeout_s=30)
    world.stuck.add(1)
    world.ticks[1] = world.now + 1e9
    world.pass_time(61)
    assert 1 in world.killed


def test_a_master_that_overslept_kills_nobody() -> None:
    world = make_world(workers=2, timeout_s=30)
    world.pass_time(5)
    ticks = dict(world.ticks)
    world.now += 3600
    world.ticks = ticks  # nobody ran, so nobody beat
    assert world.tell(on.Woke(ticks)) == []
    assert world.pass_time(25) == []
    assert world.states() == ["ready", "ready"]


def test_a_reload_moves_one_slot_after_the_other_and_drains_only_behind_a_ready_successor() -> None:
    world = make_world(workers=2)
    assert world.tell(on.ReloadAsked(Policy(workers=2))) == [do.StartZygote(2)]
    assert world.zygote_ready(2) == [do.ForkWorker(3, 0, 2, 2, 2)]
    assert world.worker_ready(3) == []
    assert world.pass_time(0.9) == [], "the canary has not settled"
    assert world.pass_time(0.2) == [do.DrainWorker(1, "reload", 30.0, False), do.ForkWorker(4, 1, 2, 3, 2)]
    assert world.worker_ready(4) == [do.DrainWorker(2, "reload", 30.0, False)]
    assert world.leaves_rotation(1) == []
    assert "reloaded" not in world.events(), "an old worker still accepts"
    assert world.leaves_rotation(2) == [do.DismissZygote(1)]
    assert world.serving() == [(0, 2), (1, 2)]
    assert "reloaded" in world.events()


def test_an_old_worker_that_cannot_say_that_it_left_delays_the_end_of_a_reload_by_a_second_only() -> None:
    world = make_world(workers=1)
    world.tell(on.ReloadAsked(Policy(workers=1, settle_s=0)))
    world.zygote_ready(2)
    assert world.worker_ready(2) == [do.DrainWorker(1, "reload", 30.0, False)]
    assert world.pass_time(0.9) == []
    assert world.pass_time(0.2) == [do.DismissZygote(1)]


@pytest.mark.parametrize(
    ("surge", "at_once"), [({"surge": 2}, 2), ({"surge": 0, "surge_percent": 60}, 3), ({"surge": 9}, 4)]
)
def test_after_the_canary_surge_slots_are_moved_at_the_same_time(surge: dict[str, Any], at_once: int) -> None:
    world = make_world(workers=5)
    world.tell(on.ReloadAsked(Policy(workers=5, **surge)))
    world.zygote_ready(2)
    world.worker_ready(6)
    assert set(world.booting) == set()
    world.pass_time(1)
    assert len(world.booting) == at_once
    while world.booting:
        world.worker_ready(min(world.booting))
        assert len(world.booting) <= at_once
    assert world.serving() == [(slot, 2) for slot in range(5)]


@pytest.mark.parametrize("lived_s", [0.5, 2.5], ids=["dies young", "outlives min-uptime"])
def test_a_canary_that_dies_before_it_has_settled_changes_nothing(lived_s: float) -> None:
    world = make_world(workers=2)
    world.tell(on.ReloadAsked(Policy(workers=2, settle_s=3, min_uptime_s=1)))
    world.zygote_ready(2)
    world.worker_ready(3)
    world.pass_time(lived_s)
    assert world.worker_exits(3) == [do.ForgetWorker(3), do.DismissZygote(2)]
    assert world.told_to_go == set()
    assert world.serving() == [(0, 1), (1, 1)]
    assert "reload failed" in world.events()


def test_a_settling_canary_takes_over_at_once_when_the_old_worker_dies() -> None:
    world = make_world(workers=1)
    world.tell(on.ReloadAsked(Policy(workers=1, settle_s=5)))
    world.zygote_ready(2)
    world.worker_ready(2)
    world.worker_exits(1)
    assert world.serving() == [(0, 2)]
    assert world.booting == {}
    world.pass_time(5)
    assert "reloaded" in world.events()


def test_a_settling_canary_of_an_abandoned_reload_answers_what_it_took() -> None:
    world = make_world(workers=1)
    world.tell(on.ReloadAsked(Policy(workers=1, settle_s=5)))
    world.zygote_ready(2)
    world.worker_ready(2)
    world.zygotes.discard(2)
    assert world.tell(on.ZygoteExited(2, "SIGKILL")) == [do.DrainWorker(2, "the reload failed", 30.0, False)]


def test_a_worker_that_retires_drains_only_behind_a_ready_successor() -> None:
    world = make_world(workers=2)
    world.pass_time(5)
    assert world.retires(1) == [do.ForkWorker(3, 0, 1, 2, 2)]
    assert world.retires(1) == [], "asked once is enough"
    assert world.worker_ready(3) == [do.DrainWorker(1, "max-requests", 30.0, False)]
    assert world.worker_exits(1, "exit 0") == [do.ForgetWorker(1)]
    assert world.serving() == [(0, 1), (1, 1)]


def test_workers_retire_one_at_a_time_in_the_order_they_asked() -> None:
    world = make_world(workers=3)
    world.pass_time(5)
    assert world.retires(2) == [do.ForkWorker(4, 1, 1, 3, 3)]
    assert world.retires(1) == []
    assert world.retires(3) == []
    assert world.worker_ready(4) == [
        do.DrainWorker(2, "max-requests", 30.0, False),
        do.ForkWorker(5, 0, 1, 4, 3),
    ]
    assert world.worker_exits(1) == [do.ForgetWorker(1), do.ForkWorker(6, 2, 1, 0, 3)], (
        "it died before its successor was ready: the next one's turn"
    )


def test_a_retiring_worker_serves_on_while_its_successors_fail() -> None:
    world = make_world(workers=1, max_restarts=3)
    world.pass_time(5)
    world.retires(1)
    for serial in range(2, 6):
        assert world.worker_exits(serial) == [do.ForgetWorker(serial)], "it backs off"
        world.pass_time(1)
    assert "slot failed" in world.events()
    assert world.serving() == [(0, 1)]
    assert world.worker_exits(1) == [do.ForgetWorker(1), do.ForkWorker(6, 0, 1, 0, 1)]


def test_an_app_that_always_asks_to_retire_forks_once_in_min_uptime() -> None:
    world = make_world(workers=1, min_uptime_s=1)
    for _ in range(100):
        for serial in world.ready - world.told_to_go:
            world.retires(serial)
        world.pass_time(0.1)
        for serial in list(world.booting):
            world.worker_ready(serial)
    assert world.forks <= 11


def test_a_worker_that_retires_during_a_reload_is_replaced_by_the_reload() -> None:
    world = make_world(workers=2)
    world.pass_time(5)
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.zygote_ready(2)
    assert world.retires(2) == []
    world.boot_all()
    assert world.forks == 4
    assert world.serving() == [(0, 2), (1, 2)]


def test_parked_nobody_serves_the_listener_stays_and_a_reload_brings_everyone_back() -> None:
    world = make_world(workers=2)
    world.tell(on.ScaleAsked(1))
    world.boot_all()
    assert world.tell(on.ParkAsked()) == [do.DrainWorker(s, "WINCH", 30.0, False) for s in (1, 2, 3)]
    assert world.tell(on.ParkAsked()) == []
    assert world.tell(on.ScaleAsked(-1)) == []
    world.everyone_obeys()
    world.pass_time(100)
    assert (world.alive, world.is_listening) == ({}, True)
    assert world.arbiter.state() is ServiceState.DEGRADED
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.boot_all()
    assert world.serving() == [(0, 2), (1, 2), (2, 2)]


def test_parked_scaling_up_counts_from_zero() -> None:
    world = make_world(workers=3)
    world.tell(on.ParkAsked())
    assert world.tell(on.ScaleAsked(1)) == [do.ForkWorker(4, 0, 1, 3, 1)]
    assert world.tell(on.ScaleAsked(1)) == [do.ForkWorker(5, 1, 1, 4, 2)]


def test_a_graceful_stop_with_a_delay_serves_until_it_is_over_and_forks_nobody() -> None:
    world = make_world(workers=2, shutdown_delay_s=5)
    world.pass_time(5)
    assert world.tell(on.StopAsked(quick=False, reason="SIGTERM")) == [do.DismissZygote(1)]
    assert world.arbiter.state() is ServiceState.STOPPING
    world.pass_time(2)
    assert world.worker_exits(2) == [do.ForgetWorker(2)]
    assert world.pass_time(2.9) == []
    assert world.pass_time(0.2) == [do.DrainWorker(1, "SIGTERM", 30.0, True), do.CloseListeners()]


def test_a_second_stop_cuts_the_delay_short() -> None:
    world = make_world(workers=1, shutdown_delay_s=60)
    world.tell(on.StopAsked(quick=False, reason="SIGTERM"))
    world.pass_time(1)
    assert world.tell(on.StopAsked(quick=False, reason="SIGTERM")) == [
        do.QuitWorker(1),
        do.CloseListeners(),
    ]


def test_a_quick_stop_knows_no_delay() -> None:
    world = make_world(workers=1, shutdown_delay_s=60)
    assert do.QuitWorker(1) in world.tell(on.StopAsked(quick=True, reason="SIGINT"))


def test_requests_that_died_with_their_worker_are_counted_in_the_log() -> None:
    world = make_world(workers=2)
    world.alive.pop(1)
    world.ready.discard(1)
    world.tell(on.WorkerExited(1, "SIGKILL", clean=False, killed=True, lost=3, connections=5))
    told = [r.fields for r in world.reports if r.event == "worker exited"]
    assert [(fields["lost"], fields["connections"]) for fields in told] == [(3, 5)]


def test_the_new_configuration_is_adopted_when_the_last_slot_has_moved_and_not_before() -> None:
    world = make_world(workers=2)
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.zygote_ready(2)
    world.worker_ready(3)
    world.pass_time(1)
    world.worker_ready(4)
    world.leaves_rotation(1)
    assert world.adopted == 1
    world.leaves_rotation(2)
    assert world.adopted == 2


def test_a_failed_reload_adopts_what_was_there_and_says_so_before_anybody_is_told_to_go() -> None:
    world = make_world(workers=2)
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.zygote_ready(2)
    world.tell(on.WorkerForked(3, 10_003))
    actions = world.arbiter.handle(on.WorkerExited(3, "exit 1", clean=False, killed=False), world.now)
    told = [action for action in actions if not isinstance(action, do.Report)]
    assert told[:2] == [do.ForgetWorker(3), do.AdoptConfiguration(1)]


@pytest.mark.parametrize(
    "failure",
    [
        on.ZygoteFailed(2, "SyntaxError"),
        on.ZygoteExited(2, "SIGSEGV"),
        None,
    ],
    ids=["import error", "crash at import", "import hangs"],
)
def test_a_generation_that_cannot_be_imported_changes_nothing(failure: on.AnyEvent | None) -> None:
    world = make_world(workers=2, boot_timeout_s=10)
    world.tell(on.ReloadAsked(Policy(workers=2, boot_timeout_s=10)))
    world.importing.discard(2)
    if isinstance(failure, on.ZygoteExited):
        world.zygotes.discard(2)
    if failure is None:
        world.pass_time(11)
    else:
        world.tell(failure)
    assert world.told_to_go == set()
    assert world.serving() == [(0, 1), (1, 1)]
    assert "reload failed" in world.events()
    if 2 in world.zygotes:
        world.zygote_exits(2)
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.boot_all()
    assert world.serving() == [(0, 3), (1, 3)], "the next good reload works"


def test_a_canary_that_dies_changes_nothing() -> None:
    world = make_world(workers=2)
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.zygote_ready(2)
    world.worker_exits(3)
    assert world.told_to_go == set()
    assert world.serving() == [(0, 1), (1, 1)]


def test_a_worker_that_fails_in_the_middle_of_the_roll_rolls_everything_back() -> None:
    world = make_world(workers=3)
    world.tell(on.ReloadAsked(Policy(workers=3)))
    world.zygote_ready(2)
    world.worker_ready(4)
    world.pass_time(1)
    world.worker_exits(5)
    assert "reload failed" in world.events()
    world.boot_all()
    world.everyone_obeys()
    world.zygote_exits(2, "exit 0")
    assert world.serving() == [(0, 1), (1, 1), (2, 1)]


def test_a_second_reload_is_queued_once_and_the_newest_wins() -> None:
    world = make_world(workers=2)
    for workers in (2, 3, 4):
        world.tell(on.ReloadAsked(Policy(workers=workers)))
    assert world.zygotes == {1, 2}, "no two rollouts at once"
    world.boot_all()
    assert world.serving() == [(slot, 3) for slot in range(4)]


def test_scaling_survives_a_reload() -> None:
    world = make_world(workers=2)
    world.tell(on.ScaleAsked(1))
    world.boot_all()
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.boot_all()
    assert world.serving() == [(0, 2), (1, 2), (2, 2)]


def test_scaling_down_takes_the_highest_slot_and_stops_at_one() -> None:
    world = make_world(workers=2)
    assert world.tell(on.ScaleAsked(-1)) == [do.DrainWorker(2, "scale-down", 30.0, False)]
    assert world.tell(on.ScaleAsked(-1)) == []
    assert world.serving() == [(0, 1)]


def test_a_graceful_stop_drains_everyone_as_the_last_and_then_exits_0() -> None:
    world = make_world(workers=2)
    assert world.tell(on.StopAsked(quick=False, reason="SIGTERM")) == [
        do.DismissZygote(1),
        do.DrainWorker(1, "SIGTERM", 30.0, True),
        do.DrainWorker(2, "SIGTERM", 30.0, True),
        do.CloseListeners(),
    ]
    world.everyone_obeys()
    assert world.zygote_exits(1, "exit 0") == [do.Exit(0, "SIGTERM")]


def test_a_worker_that_ignores_a_graceful_stop_is_killed_in_time() -> None:
    world = make_world(workers=1, graceful_timeout_s=10)
    world.tell(on.StopAsked(quick=False, reason="SIGTERM"))
    world.pass_time(10.5)
    assert world.killed == {1}


def test_a_quick_stop_and_a_second_stop_are_over_within_two_seconds() -> None:
    for again in (on.StopAsked(quick=True, reason="SIGINT"), on.StopAsked(quick=False, reason="SIGTERM")):
        world = make_world(workers=2)
        world.tell(on.StopAsked(quick=False, reason="SIGTERM"))
        world.tell(again)
        world.pass_time(2)
        assert world.killed == {1, 2}


def test_a_stop_wins_over_a_reload_at_once() -> None:
    world = make_world(workers=2)
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.tell(on.ReloadAsked(Policy(workers=2)))
    actions = world.tell(on.StopAsked(quick=False, reason="SIGTERM"))
    assert do.KillZygote(2) in actions
    world.importing.clear()
    world.everyone_obeys()
    world.zygote_exits(1)
    assert world.zygote_exits(2) == [do.Exit(0, "SIGTERM")]


def test_workers_draining_for_a_reload_learn_that_they_are_the_last() -> None:
    world = make_world(workers=1)
    world.tell(on.ReloadAsked(Policy(workers=1)))
    world.boot_all()
    actions = world.tell(on.StopAsked(quick=False, reason="SIGTERM"))
    assert do.DrainWorker(1, "SIGTERM", 30.0, True) in actions


def test_a_zygote_that_dies_is_started_again_and_its_workers_live_on() -> None:
    world = make_world(workers=2)
    world.pass_time(5)
    assert world.zygote_exits(1) == []
    assert world.serving() == [(0, 1), (1, 1)]
    assert world.pass_time(1) == [do.StartZygote(1)]
    world.worker_exits(1)
    world.boot_all()
    assert world.serving() == [(0, 1), (1, 1)]


def test_a_worker_that_leaves_alone_is_replaced_before_it_is_gone() -> None:
    world = make_world(workers=1)
    world.pass_time(5)
    assert world.tell(on.WorkerDraining(1, "SIGTERM")) == [do.ForkWorker(2, 0, 1, 1, 1)]


def test_a_deaf_worker_that_does_not_end_is_killed() -> None:
    world = make_world(workers=1)
    world.pass_time(5)
    world.tell(on.WorkerDeaf(1))
    world.pass_time(3)
    assert world.killed == {1}


def test_a_misbehaving_worker_pays_with_its_life() -> None:
    world = make_world(workers=1)
    world.pass_time(5)
    assert world.tell(on.WorkerMisbehaved(1, "garbage")) == [do.DumpStacks(1), do.ForkWorker(2, 0, 1, 1, 1)]
    world.pass_time(1)
    assert world.killed == {1}


def test_news_of_the_dead_name_nobody() -> None:
    world = make_world(workers=1)
    world.pass_time(5)
    world.worker_exits(1)
    for event in (
        on.WorkerDeaf(1),
        on.WorkerReady(1, 1),
        on.WorkerMisbehaved(1, "x"),
        on.WorkerDraining(1, "x"),
    ):
        assert world.tell(event) == []


def test_a_killed_worker_that_does_not_end_is_killed_again() -> None:
    world = make_world(workers=1, timeout_s=1)
    world.stuck.add(1)
    world.pass_time(2)
    world.killed.clear()
    world.pass_time(6)
    assert world.killed == {1}


def test_a_zygote_that_does_not_fork_is_replaced() -> None:
    world = make_world(workers=2)
    world.pass_time(5)
    world.worker_exits(1)
    assert world.pass_time(6) == [do.KillZygote(1)]
    world.zygote_exits(1)
    world.pass_time(1)
    world.boot_all()
    assert world.serving() == [(0, 1), (1, 1)]


def test_a_zygote_that_does_not_reap_keeps_nobody_from_stopping() -> None:
    world = make_world(workers=1)
    world.pass_time(5)
    world.tell(on.StopAsked(quick=True, reason="SIGINT"))
    actions = world.pass_time(3)
    assert do.KillZygote(1) in actions
    world.zygote_exits(1)
    assert world.worker_exits(1, "SIGKILL") == [do.ForgetWorker(1), do.Exit(0, "SIGINT")]


def test_a_zygote_whose_channel_is_closed_is_killed_if_it_does_not_end() -> None:
    world = make_world(workers=1)
    world.pass_time(5)
    world.tell(on.ZygoteDeaf(1))
    assert world.pass_time(3) == [do.KillZygote(1)]


def test_a_master_that_overslept_does_not_blame_a_zygote_for_its_forks_either() -> None:
    world = make_world(workers=2)
    world.pass_time(5)
    world.worker_exits(1)
    world.now += 3600
    assert world.tell(on.Woke(dict(world.ticks))) == []
    assert world.pass_time(4) == []


def test_a_worker_told_to_drain_before_it_is_forked_owes_no_beat() -> None:
    world = make_world(workers=1, timeout_s=1)
    world.tell(on.ScaleAsked(1))
    world.tell(on.ScaleAsked(-1))
    world.fork_confirmed(2)
    assert world.pass_time(20) == []


def test_a_master_that_overslept_leaves_a_booting_worker_its_time() -> None:
    world = make_world(workers=2, boot_timeout_s=10)
    world.pass_time(5)
    world.worker_exits(1)
    world.fork_confirmed(3)
    world.now += 3600
    assert world.tell(on.Woke(dict(world.ticks))) == []
    assert world.pass_time(9) == []
    assert do.DumpStacks(3) in world.pass_time(2)


def test_parking_during_a_reload_abandons_it_and_its_workers_with_everybody_else() -> None:
    world = make_world(workers=2)
    world.tell(on.ReloadAsked(Policy(workers=2, settle_s=5)))
    world.tell(on.ReloadAsked(Policy(workers=2)))
    world.zygote_ready(2)
    world.worker_ready(3)
    world.tell(on.ParkAsked())
    assert world.told_to_go == {1, 2, 3}
    world.everyone_obeys()
    world.pass_time(100)
    assert world.alive == {}
    assert "reloaded" not in world.events()


def test_a_machine_that_cannot_fork_for_long_fails_no_slot() -> None:
    world = make_world(workers=2, max_restarts=3)
    world.pass_time(5)
    world.worker_exits(1)
    for _ in range(50):
        for serial in list(world.booting):
            del world.booting[serial], world.alive[serial]
            world.tell(on.ForkRefused(serial, "cannot fork: EAGAIN"))
        world.pass_time(1.3)
    world.boot_all()
    assert world.serving() == [(0, 1), (1, 1)], "within a second and a bit of the machine's recovery"


def test_wait_ready_that_never_comes_says_what_is_missing() -> None:
    world = World(Policy(workers=1, wait_ready=True, boot_timeout_s=2))
    world.tell(on.Start())
    world.zygote_ready(1)
    world.fork_confirmed(1)
    world.pass_time(2.1)
    told = [r.fields["why"] for r in world.reports if r.event == "worker condemned"]
    assert told == ["not ready within 2 s (wait-ready: has the app called prefork.ready()?)"]
