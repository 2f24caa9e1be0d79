"""The promises as invariants of a machine that does anything in any order. `World` checks each action as it comes."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.policy import OVERSLEPT_S, Policy
from prefork.core.records import NEVER
from prefork.core.rollout import count_surge
from prefork.core.states import WorkerState, ZygoteState
from tests.core.world import World

IN_ROTATION = (WorkerState.BOOTING, WorkerState.READY)
POLICIES = st.builds(
    Policy,
    workers=st.integers(1, 4),
    timeout_s=st.just(10.0),
    boot_timeout_s=st.just(5.0),
    graceful_timeout_s=st.just(8.0),
    slow_s=st.sampled_from([0.0, 1.0]),
    settle_s=st.sampled_from([0.0, 1.0, 7.0]),
    surge=st.integers(0, 3),
    surge_percent=st.sampled_from([0, 50]),
    shutdown_delay_s=st.sampled_from([0.0, 0.0, 3.0]),
)


def pick(data: st.DataObject, of: set[int]) -> int:
    return data.draw(st.sampled_from(sorted(of)))


class AnyHistory(RuleBasedStateMachine):
    """Everything that can happen to a service, at any moment."""

    @initialize(policy=POLICIES, is_up=st.sampled_from([True, True, True, False]))
    def begin(self, policy: Policy, is_up: bool) -> None:
        self.world = World(policy)
        if is_up:
            self.world.start()
        else:
            self.world.tell(on.Start())

    def is_over(self) -> bool:
        return self.world.exit_code is not None

    @precondition(lambda self: self.world.importing)
    @rule(data=st.data())
    def import_succeeds(self, data: st.DataObject) -> None:
        self.world.zygote_ready(pick(data, self.world.importing))

    @precondition(lambda self: self.world.importing)
    @rule(data=st.data())
    def import_fails(self, data: st.DataObject) -> None:
        gen = pick(data, self.world.importing)
        self.world.importing.discard(gen)
        self.world.tell(on.ZygoteFailed(gen, "ImportError"))
        self.world.zygote_exits(gen, "exit 0")

    @precondition(lambda self: self.world.zygotes)
    @rule(data=st.data())
    def zygote_dies(self, data: st.DataObject) -> None:
        gen = pick(data, self.world.zygotes)
        self.world.zygote_exits(gen)

    @precondition(lambda self: self.world.booting)
    @rule(data=st.data())
    def fork_is_confirmed(self, data: st.DataObject) -> None:
        self.world.fork_confirmed(pick(data, set(self.world.booting)))

    @precondition(lambda self: self.world.booting)
    @rule(data=st.data())
    def worker_boots(self, data: st.DataObject) -> None:
        self.world.worker_ready(pick(data, set(self.world.booting)))

    @precondition(lambda self: self.world.booting)
    @rule(data=st.data())
    def fork_is_refused(self, data: st.DataObject) -> None:
        serial = pick(data, set(self.world.booting))
        del self.world.booting[serial], self.world.alive[serial]
        self.world.tell(on.ForkRefused(serial, "EAGAIN"))

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), killed=st.booleans())
    def worker_dies(self, data: st.DataObject, killed: bool) -> None:
        self.world.worker_exits(
            pick(data, set(self.world.alive)), "SIGKILL" if killed else "exit 1", killed=killed
        )

    @precondition(lambda self: self.world.ready)
    @rule(data=st.data())
    def worker_sticks(self, data: st.DataObject) -> None:
        self.world.stuck.add(pick(data, self.world.ready))

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data())
    def worker_says_anything(self, data: st.DataObject) -> None:
        serial = data.draw(st.sampled_from([*sorted(self.world.alive), 0, 1]))
        event = data.draw(
            st.sampled_from(
                [
                    on.WorkerDeaf(serial),
                    on.WorkerFailed(serial, "x"),
                    on.WorkerMisbehaved(serial, "x"),
                    on.WorkerDraining(serial, "SIGTERM"),
                ]
            )
        )
        self.world.tell(event)
        if isinstance(event, on.WorkerDraining):
            self.world.told_to_go |= {serial} & set(self.world.alive)

    @rule(seconds=st.floats(0, 40, allow_nan=False))
    def time_passes(self, seconds: float) -> None:
        if not self.is_over():
            self.world.pass_time(seconds)

    @rule(seconds=st.floats(0, 4000, allow_nan=False))
    def master_sleeps(self, seconds: float) -> None:
        if self.is_over():
            return
        world = self.world
        expected = world.arbiter.next_deadline()
        innocent = {
            worker.serial
            for worker in world.arbiter.fleet.workers.values()
            if worker.state is WorkerState.READY and not worker.why
        }
        world.now += seconds
        actions = world.tell(on.Woke(dict(world.ticks)))
        if expected is not None and world.now - expected > OVERSLEPT_S:
            blamed = {action.serial for action in actions if isinstance(action, do.DumpStacks)}
            assert not innocent & blamed, "blamed for our own sleep"

    @rule(policy=POLICIES)
    def reload(self, policy: Policy) -> None:
        if not self.is_over():
            self.world.tell(on.ReloadAsked(policy))

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data())
    def worker_retires(self, data: st.DataObject) -> None:
        self.world.retires(pick(data, set(self.world.alive)))

    @precondition(lambda self: self.world.polling)
    @rule(data=st.data())
    def worker_leaves_rotation(self, data: st.DataObject) -> None:
        going = self.world.polling & self.world.told_to_go
        if going:
            self.world.leaves_rotation(pick(data, going))

    @rule()
    def park(self) -> None:
        if not self.is_over():
            self.world.tell(on.ParkAsked())

    @rule(by=st.sampled_from([1, -1]))
    def scale(self, by: int) -> None:
        if not self.is_over():
            self.world.tell(on.ScaleAsked(by))

    @rule(
        event=st.one_of(
            st.builds(on.ScaleAsked, by=st.integers(-9, 9)), st.builds(on.ScaleAsked, to=st.integers(1, 9))
        )
    )
    def an_operator_scales(self, event: on.ScaleAsked) -> None:
        if not self.is_over():
            self.world.tell(event)

    @rule(slot=st.integers(0, 5))
    def an_operator_replaces(self, slot: int) -> None:
        if not self.is_over():
            self.world.tell(on.ReplaceAsked(slot))

    @rule()
    def a_reload_is_refused(self) -> None:
        if not self.is_over():
            assert self.world.tell(on.ReloadRefused("it is invalid")) == []

    @precondition(lambda self: len(self.world.reports) > 5)
    @rule(quick=st.booleans())
    def stop(self, quick: bool) -> None:
        if not self.is_over():
            self.world.tell(on.StopAsked(quick, "SIGTERM"))

    @rule()
    def everyone_obeys(self) -> None:
        if not self.is_over():
            self.world.everyone_obeys()

    @invariant()
    def every_wait_has_a_deadline(self) -> None:
        for worker in self.world.arbiter.fleet.workers.values():
            if worker.state is not WorkerState.READY:
                assert math.isfinite(worker.deadline), f"waits for ever for a worker that is {worker.state}"
            else:
                assert math.isfinite(worker.beat_due), "nobody watches its loop"

    @invariant()
    def at_least_one_worker_is_wanted(self) -> None:
        fleet = self.world.arbiter.fleet
        assert fleet.target >= 1 or fleet.parked >= 1

    @invariant()
    def retiring_and_reloading_never_dip_below_who_was_there(self) -> None:
        for slot in () if self.world.is_stopping else self.world.arbiter.fleet.slots.values():
            if slot.successor is not None and slot.successor.state is not WorkerState.READY:
                assert slot.current is None or slot.current.state in IN_ROTATION, "drained too early"

    @invariant()
    def one_worker_retires_at_a_time(self) -> None:
        fleet = self.world.arbiter.fleet
        if fleet.rollout is None:
            retiring = [
                slot
                for slot in fleet.slots.values()
                if slot.successor and slot.current and slot.successor.gen == slot.current.gen
            ]
            assert len(retiring) <= 1

    @invariant()
    def at_most_surge_slots_move_at_the_same_time(self) -> None:
        fleet = self.world.arbiter.fleet
        if (rollout := fleet.rollout) is not None:
            moving = [
                slot for slot in fleet.slots.values() if slot.gen == rollout.gen and not slot.is_served()
            ]
            assert len(moving) <= (count_surge(rollout.policy, fleet.target) if rollout.has_settled else 1)

    @invariant()
    def no_two_rollouts(self) -> None:
        fleet = self.world.arbiter.fleet
        importing = [gen.gen for gen in fleet.gens.values() if gen.state is ZygoteState.IMPORTING]
        wanted = {fleet.base_gen} | ({fleet.rollout.gen} if fleet.rollout else set())
        assert set(importing) <= wanted

    @invariant()
    def the_listener_stays_open_while_serving(self) -> None:
        assert self.world.is_listening or self.world.is_stopping

    @invariant()
    def the_arbiter_knows_whoever_lives(self) -> None:
        assert set(self.world.arbiter.fleet.workers) == set(self.world.alive)

    def teardown(self) -> None:
        """Whatever happened: when the world turns benign, the count returns to target, or the stop completes."""
        if not hasattr(self, "world") or self.is_over():
            return
        world = self.world
        for _ in range(80):
            world.everyone_obeys()
            world.boot_all()
            for gen in world.arbiter.fleet.gens.values():
                alive = any(fork.gen == gen.gen for fork in world.alive.values())
                if gen.state is ZygoteState.LEAVING and gen.gen in world.zygotes and not alive:
                    world.zygote_exits(gen.gen, "exit 0")
                    break
            if self.is_over():
                return
            world.stuck.clear()
            world.pass_time(5)
        fleet = world.arbiter.fleet
        failed = {slot.index for slot in fleet.slots.values() if slot.failed}
        expected = [(slot, fleet.base_gen) for slot in range(fleet.target) if slot not in failed]
        assert not world.is_stopping, "a stop that never ends"
        assert fleet.rollout is None, "a reload that never ends"
        assert not [w for w in fleet.workers.values() if w.retiring], "somebody asked in vain"
        assert world.serving() == expected
        assert fleet.next_deadline() <= NEVER


AnyHistory.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=(HealthCheck.too_slow,),
)
TestAnyHistory = AnyHistory.TestCase
