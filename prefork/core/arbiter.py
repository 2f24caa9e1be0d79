"""The Arbiter decides: an event and the time come in, a list of actions goes out.

It must never act, look at a clock or wait. Everything the master does is one of its actions, so every promise about
processes can be checked by feeding it histories.
"""

from __future__ import annotations

from collections.abc import Callable

from prefork.core import actions as do
from prefork.core import events as on
from prefork.core import rollout
from prefork.core.fleet import Fleet, who
from prefork.core.policy import (
    DEAF_GRACE_S,
    KILL_AGAIN_S,
    LEAVE_GRACE_S,
    OVERSLEPT_S,
    REAP_GRACE_S,
    Policy,
)
from prefork.core.reasons import ASKED
from prefork.core.records import NEVER, Generation, Worker
from prefork.core.stalls import Stalls
from prefork.core.states import ServiceState, WorkerState, ZygoteState
from prefork.errors import EXIT_APP, EXIT_OK, refuse_unreachable


class Arbiter:
    """Decides for one service. `spread` gives numbers in [0, 1) for the jitter; `rows` is the scoreboard's size."""

    def __init__(self, policy: Policy, spread: Callable[[], float], rows: int = 1024) -> None:
        self.fleet = Fleet(policy, spread, rows)
        self._stalls = Stalls()
        self._queued: Policy | None = None
        self._was_complete = False
        self._stopping: str | None = None
        self._is_quick = False
        self._drain_at = NEVER
        """STOPPING: when the workers are told."""
        self._exit_code = EXIT_OK
        self._is_listening = True
        self._expected = NEVER

    def state(self) -> ServiceState:
        """The service's state now."""
        if self._stopping is not None:
            return ServiceState.STOPPING
        if self.fleet.rollout is not None:
            return ServiceState.RELOADING
        if not self._was_complete:
            return ServiceState.STARTING
        return ServiceState.SERVING if self.fleet.is_complete() else ServiceState.DEGRADED

    def is_reloading(self) -> bool:
        """Is a reload under way, or waiting for its turn?"""
        return self.fleet.rollout is not None or self._queued is not None

    def has_queued(self) -> bool:
        """Does a reload wait for its turn?"""
        return self._queued is not None

    def next_deadline(self) -> float | None:
        """When to come back with `Woke` if nothing happens before; None if there is nothing to wait for."""
        self._expected = self.fleet.next_deadline()
        if self._stopping is not None and self._is_listening:
            self._expected = min(self._expected, self._drain_at)
        return None if self._expected == NEVER else self._expected

    def handle(self, event: on.AnyEvent, now: float) -> list[do.Action]:
        """Take one event in; `now` is monotonic seconds and never goes back. Returns what to do, in order."""
        fleet = self.fleet
        before, fleet.now, fleet.out = fleet.now, now, []
        match event:
            case on.Start():
                fleet.open_generation(fleet.policy)
            case on.Woke():
                self._wake(event, before)
            case on.StopAsked():
                self._stop(event)
            case on.ReloadAsked():
                self._reload(event.policy)
            case on.ReloadRefused():
                fleet.history.note_refusal(event.why)
            case on.ScaleAsked():
                self._scale(event)
            case on.ReplaceAsked():
                self._replace(event.slot)
            case on.ParkAsked():
                self._park()
            case on.ZygoteReady() | on.ZygoteFailed() | on.ZygoteDeaf() | on.ZygoteExited():
                if (gen := fleet.gens.get(event.gen)) is not None:
                    self._hear_zygote(gen, event)
            case on.WorkerEvent():
                # Late news of the dead are no news: no action may name a reaped worker.
                if (worker := fleet.workers.get(event.serial)) is not None:
                    self._hear_worker(worker, event)
            case _:
                refuse_unreachable(event)
        self._advance()
        return fleet.out

    # time

    def _wake(self, event: on.Woke, before: float) -> None:
        fleet = self.fleet
        if fleet.now - self._expected > OVERSLEPT_S:
            # By all the time since the last event: by the delay alone, what was due first would be due at once.
            self._blame_nobody(fleet.now - before)
        for worker in list(fleet.workers.values()):
            tick = event.ticks.get(worker.serial, 0.0)
            self._check_beat(worker, tick)
            self._stalls.look(fleet, worker, tick)
            if worker.deadline <= fleet.now:
                self._worker_is_due(worker)
        for gen in list(fleet.gens.values()):
            self._check_zygote(gen)

    def _blame_nobody(self, lost_s: float) -> None:
        """We did not run, so the workers may not have run either: every patience starts anew or goes on later."""
        fleet = self.fleet
        fleet.report("warning", "overslept", lost_s=round(lost_s, 1))
        for worker in fleet.workers.values():
            worker.deadline += lost_s
            worker.beat_due += lost_s  # of a fork that is not confirmed
            if worker.is_serving():
                worker.expect_beat(fleet.now)
                self._stalls.watch(worker, fleet.now)
        for gen in fleet.gens.values():
            gen.deadline += lost_s

    def _check_beat(self, worker: Worker, tick: float) -> None:
        fleet = self.fleet
        if worker.beat_due > fleet.now:
            return
        if worker.pid == 0:
            worker.beat_due = NEVER
            fleet.give_up_zygote(worker.gen, "it does not fork")
            return
        # A tick from the future is a lie of the app's: it must not buy immortality.
        worker.expect_beat(tick if tick <= fleet.now else 0.0)
        if worker.beat_due <= fleet.now:
            silent = round(fleet.now - worker.beat_floor, 1)
            fleet.condemn(worker, f"its loop has been stuck for {silent} s (timeout)", "hung")

    def _worker_is_due(self, worker: Worker) -> None:
        fleet = self.fleet
        match worker.state:
            case WorkerState.BOOTING:
                late = f"not ready within {worker.policy.boot_timeout_s:g} s"
                if worker.policy.wait_ready:
                    late += " (wait-ready: has the app called prefork.ready()?)"
                fleet.condemn(worker, worker.why or late, "boot")
            case WorkerState.READY if worker.why:
                fleet.condemn(worker, worker.why, "misbehaved")
            case WorkerState.READY:
                fleet.settle(worker)
            case WorkerState.DRAINING:
                fleet.condemn(worker, worker.why or "still draining when its graceful time was over", "hung")
            case WorkerState.KILLED:
                fleet.out.append(do.KillWorker(worker.serial, worker.why))
                worker.kills += 1
                worker.deadline = fleet.now + (REAP_GRACE_S if worker.kills == 1 else KILL_AGAIN_S)
                if worker.kills > 1:  # killed and not reaped: whoever should reap it does not run
                    fleet.give_up_zygote(worker.gen, "it does not reap")
            case WorkerState.EXITED:
                raise AssertionError("an exited worker is forgotten")

    def _check_zygote(self, gen: Generation) -> None:
        fleet = self.fleet
        if gen.state is ZygoteState.EXITED:
            if gen.not_before <= fleet.now:
                fleet.restart_zygote(gen)
            return
        if gen.deadline <= fleet.now and gen.state is ZygoteState.IMPORTING:
            late = f"the app was not imported within {gen.policy.boot_timeout_s:g} s"
            self._zygote_lost(gen, gen.why or late)
        if gen.deadline <= fleet.now:
            gen.deadline = fleet.now + KILL_AGAIN_S
            fleet.out.append(do.KillZygote(gen.gen))

    # what operators ask

    def _stop(self, event: on.StopAsked) -> None:
        if self._stopping is None:
            delay_s = 0.0 if event.quick or not self.fleet.was_ready else self.fleet.policy.shutdown_delay_s
            self._begin_stop(event.reason, EXIT_OK, quick=event.quick, delay_s=delay_s)
        elif self._is_listening:  # it was to begin later
            self._is_quick = True
            self._drain_at = self.fleet.now
        else:
            for worker in list(self.fleet.workers.values()):
                self.fleet.quit(worker, "asked to stop again")

    def _begin_stop(self, reason: str, code: int, *, quick: bool, delay_s: float = 0.0) -> None:
        fleet = self.fleet
        self._stopping = reason
        self._is_quick = quick
        self._drain_at = fleet.now + delay_s
        self._exit_code = code
        self._queued = fleet.rollout = None
        later = {"drain_in_s": delay_s} if delay_s else {}
        fleet.report("info", "stopping", reason=reason, **later)
        for gen in fleet.gens.values():
            fleet.dismiss(gen)

    def _drain_everyone(self, reason: str) -> None:
        fleet = self.fleet
        for worker in list(fleet.workers.values()):
            if self._is_quick or worker.state is WorkerState.BOOTING:
                fleet.quit(worker, reason)
            elif worker.state is WorkerState.DRAINING:
                fleet.tell_last(worker, reason)
            else:
                fleet.drain(worker, reason, last=True)

    def _reload(self, policy: Policy) -> None:
        fleet = self.fleet
        if self._stopping is not None:
            fleet.report("warning", "reload ignored", reason="stopping")
        elif fleet.rollout is not None or not fleet.was_ready:
            self._queued = policy
            fleet.report("info", "reload queued")
        else:
            rollout.begin(fleet, policy)

    def _scale(self, event: on.ScaleAsked) -> None:
        fleet = self.fleet
        asked = event.to or fleet.target + event.by
        if self._stopping is not None or (fleet.parked and asked < 0) or asked == fleet.target:
            return
        wanted = min(max(1, asked), fleet.room_for())
        if wanted == fleet.target:
            fleet.report(
                "warning",
                "scale ignored",
                workers=fleet.target,
                reason="never below one" if asked < 1 else "the scoreboard is full",
            )
            return
        fleet.retarget(wanted)
        fleet.report("info", "scale", workers=fleet.target)

    def _replace(self, index: int) -> None:
        fleet, slot = self.fleet, self.fleet.slots.get(index)
        if self._stopping is not None or slot is None:
            return
        if slot.failed or slot.is_vacant():
            slot.forgive()
        elif slot.current is not None:
            fleet.retire(slot.current, ASKED)

    def _park(self) -> None:
        fleet = self.fleet
        if self._stopping is None and fleet.was_ready and not fleet.parked:
            fleet.report("info", "draining all workers", workers=fleet.target)
            self._queued = None
            if fleet.rollout is not None:
                fleet.rollout.failure = fleet.rollout.failure or "all workers drain"
                rollout.step(fleet)
            fleet.park("WINCH")

    # what children say

    def _hear_zygote(
        self,
        gen: Generation,
        event: on.ZygoteReady | on.ZygoteFailed | on.ZygoteDeaf | on.ZygoteExited,
    ) -> None:
        match event:
            case on.ZygoteReady():
                if gen.state is ZygoteState.IMPORTING:
                    gen.become(ZygoteState.READY)
                    gen.streak = 0
            case on.ZygoteFailed():
                self._zygote_lost(gen, event.why)
            case on.ZygoteDeaf():
                if gen.state is not ZygoteState.EXITED:
                    gen.why = "its channel is closed"
                    gen.deadline = min(gen.deadline, self.fleet.now + LEAVE_GRACE_S)
            case on.ZygoteExited():
                self._zygote_exited(gen, event.how)
            case _:
                refuse_unreachable(event)

    def _zygote_lost(self, gen: Generation, why: str) -> None:
        """It failed or died while we wanted it."""
        fleet = self.fleet
        if self._stopping is not None:
            return
        if fleet.rollout is not None and gen.gen == fleet.rollout.gen:
            fleet.rollout.failure = fleet.rollout.failure or why
            rollout.step(fleet)
        elif not fleet.was_ready and not fleet.workers:
            self._begin_stop(why, EXIT_APP, quick=True)

    def _zygote_exited(self, gen: Generation, how: str) -> None:
        fleet = self.fleet
        if gen.state is ZygoteState.EXITED:
            return
        was_expected = gen.state is ZygoteState.LEAVING
        was_importing = gen.state is ZygoteState.IMPORTING
        gen.become(ZygoteState.EXITED)
        for worker in [w for w in fleet.workers.values() if w.gen == gen.gen and w.pid == 0]:
            # Its fork was asked of the dead and never confirmed: it does not exist, or sees its channel closed.
            fleet.bury(worker, "its zygote died", killed=True, reason="machine")
        if was_expected:
            return
        ended = "importing the app ended the process" if was_importing else "the zygote ended"
        self._zygote_lost(gen, f"{ended} ({how})")
        if self._stopping is None and gen.gen == fleet.base_gen:
            fleet.back_off_zygote(gen, how)

    def _hear_worker(self, worker: Worker, event: on.WorkerEvent) -> None:
        fleet = self.fleet
        is_in_rotation = worker.state in (WorkerState.BOOTING, WorkerState.READY)
        match event:
            case on.WorkerForked():
                worker.pid = event.pid
                if worker.ready_at == NEVER:  # until then its loop owes no beat
                    worker.beat_due = NEVER
            case on.WorkerReady():
                if worker.state is WorkerState.BOOTING:
                    self._worker_ready(worker, event.boot_ms)
            case on.WorkerDraining():
                worker.has_left = True
                if is_in_rotation:
                    fleet.report("info", "worker leaves", **who(worker), reason=event.reason)
                    fleet.leave_alone(worker, event.reason)
            case on.WorkerRetires():
                fleet.retire(worker, event.reason)
            case on.WorkerFailed():
                if worker.state is WorkerState.BOOTING:
                    worker.why = event.why
                    worker.deadline = min(worker.deadline, fleet.now + DEAF_GRACE_S)
            case on.WorkerDeaf():
                if worker.state is not WorkerState.KILLED:
                    worker.why = worker.why or "its channel is closed"
                    worker.deadline = min(worker.deadline, fleet.now + DEAF_GRACE_S)
            case on.WorkerMisbehaved():
                fleet.condemn(worker, event.why, "misbehaved")
            case on.ForkRefused():
                # No process, no memory, no descriptor: the machine's state, and no fault of the app's.
                fleet.bury(worker, event.why, killed=True, reason="machine")
            case on.WorkerExited():
                cut = {"lost": event.lost, "connections": event.connections}
                fleet.bury(worker, event.how, killed=event.killed, cut=cut if event.connections else {})

    def _worker_ready(self, worker: Worker, boot_ms: int) -> None:
        fleet = self.fleet
        worker.ready_at = fleet.now
        worker.become(WorkerState.READY, fleet.now + worker.policy.min_uptime_s)
        worker.expect_beat(fleet.now)
        self._stalls.watch(worker, fleet.now)
        fleet.was_ready = True
        fleet.report(
            "info", "worker ready", slot=worker.slot, gen=worker.gen, boot_ms=boot_ms, pid=worker.pid
        )
        slot = fleet.slots.get(worker.slot)
        if slot is not None and slot.successor is worker and not rollout.is_settling(fleet, slot):
            fleet.promote(slot)

    # towards the wish

    def _advance(self) -> None:
        fleet = self.fleet
        if self._stopping is None and fleet.has_given_up_booting():
            why = f"no worker could be started: {fleet.first_failure}"
            self._begin_stop(why, EXIT_APP, quick=True)
        if self._stopping is not None:
            self._finish_stop()
            return
        fleet.add_slots()
        rollout.step(fleet)
        for slot in fleet.slots.values():
            fleet.fill(slot)
        fleet.forget_generations()
        if fleet.is_complete() and not self._was_complete:
            self._was_complete = True
            fleet.report("info", "serving", workers=fleet.target, gen=fleet.base_gen)
        if self._queued is not None and fleet.rollout is None and fleet.was_ready:
            queued, self._queued = self._queued, None
            rollout.begin(fleet, queued)

    def _finish_stop(self) -> None:
        fleet = self.fleet
        if self._drain_at > fleet.now:
            return
        if self._is_listening:
            self._drain_everyone(self._stopping or "")
            # The workers told to drain as the last ones empty the accept queue through their own copies.
            self._is_listening = False
            fleet.out.append(do.CloseListeners())
        if not fleet.workers and all(gen.state is ZygoteState.EXITED for gen in fleet.gens.values()):
            fleet.out.append(do.Exit(self._exit_code, self._stopping or ""))
