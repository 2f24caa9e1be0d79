"""The Arbiter decides: an event and the time come in, a list of actions goes out.

It must never act, look at a clock or wait. Everything the master does is one of its actions, so every promise about
processes can be checked by feeding it histories.

The fleet is steered by reconciliation: each slot says which generation it *wants*; `_fill` compares that with who is
there and asks for forks. A rollout only moves the wish from slot to slot, a rollback moves it back, and a crash needs
no case of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.fleet import NEVER, Generation, Rollout, Slot, Worker
from prefork.core.policy import (
    DEAF_GRACE_S,
    DUMP_GRACE_S,
    KILL_AGAIN_S,
    LEAVE_GRACE_S,
    OVERSLEPT_S,
    QUICK_STOP_S,
    Policy,
)
from prefork.core.respawn import delay_s
from prefork.core.states import ServiceState, WorkerState, ZygoteState
from prefork.errors import EXIT_APP, EXIT_OK


class Arbiter:
    """Decides for one service. `spread` gives numbers in [0, 1) for the jitter; `rows` is the scoreboard's size."""

    def __init__(self, policy: Policy, spread: Callable[[], float], rows: int = 1024) -> None:
        self.target = policy.workers
        self.base_gen = 1
        self.slots: dict[int, Slot] = {}
        self.workers: dict[int, Worker] = {}
        self.gens: dict[int, Generation] = {}
        self.rollout: Rollout | None = None
        self._policy = policy
        self._queued: Policy | None = None
        self._spread = spread
        self._rows = set(range(rows))
        self._serial = 0
        self._last_gen = 0
        self._streak = 0
        self._not_before = 0.0
        self._was_ready = False
        self._was_complete = False
        self._stopping: str | None = None
        self._exit_code = EXIT_OK
        self._is_listening = True
        self._expected = NEVER
        self._now = 0.0
        self._out: list[do.Action] = []

    # what others may ask

    def state(self) -> ServiceState:
        """The service's state now."""
        if self._stopping is not None:
            return ServiceState.STOPPING
        if self.rollout is not None:
            return ServiceState.RELOADING
        if not self._was_complete:
            return ServiceState.STARTING
        return ServiceState.SERVING if self._is_complete() else ServiceState.DEGRADED

    def rolled(self) -> int:
        """During a rollout: how many slots run the new generation already."""
        gen = self.rollout.gen if self.rollout else self.base_gen
        return sum(1 for slot in self.slots.values() if slot.gen == gen and slot.is_settled_on_its_gen())

    def has_served(self) -> bool:
        """Has any worker ever been ready? Until then a failure is the start's, and ends it."""
        return self._was_ready

    def next_deadline(self) -> float | None:
        """When to come back with `Woke` if nothing happens before; None if there is nothing to wait for."""
        deadline = NEVER
        for worker in self.workers.values():
            deadline = min(deadline, worker.deadline, worker.beat_due)
        for gen in self.gens.values():
            deadline = min(deadline, gen.not_before if gen.state is ZygoteState.EXITED else gen.deadline)
        if self._stopping is None and self._was_ready:
            for slot in self.slots.values():
                if slot.current is None and slot.successor is None and not slot.failed:
                    due = max(slot.not_before, self._not_before if self._is_probing() else 0.0)
                    # A slot that waits for something else than time must not make the master spin.
                    if due > self._now:
                        deadline = min(deadline, due)
        self._expected = deadline
        return None if deadline == NEVER else deadline

    def handle(self, event: on.Event, now: float) -> list[do.Action]:  # noqa: C901, PLR0912 one case per event
        """Take one event in; `now` is monotonic seconds and never goes back. Returns what to do, in order."""
        self._now = now
        self._out = []
        match event:
            case on.Start():
                self._open_generation(self._policy)
            case on.Woke():
                self._wake(event)
            case on.StopAsked():
                self._stop(event)
            case on.ReloadAsked():
                self._reload(event.policy)
            case on.ScaleAsked():
                self._scale(event.by)
            case on.ZygoteReady():
                self._zygote_ready(event.gen)
            case on.ZygoteFailed():
                self._zygote_lost(event.gen, event.why)
            case on.ZygoteExited():
                self._zygote_exited(event)
            case on.WorkerForked():
                if worker := self.workers.get(event.serial):
                    worker.pid = event.pid
            case on.WorkerReady():
                self._worker_ready(event)
            case on.WorkerDraining():
                self._worker_leaves(event)
            case on.WorkerFailed():
                self._worker_failed(event)
            case on.WorkerDeaf():
                if (worker := self.workers.get(event.serial)) and worker.state is not WorkerState.KILLED:
                    worker.why = "its channel is closed"
                    worker.deadline = min(worker.deadline, now + DEAF_GRACE_S)
            case on.WorkerMisbehaved():
                if worker := self.workers.get(event.serial):
                    self._condemn(worker, event.why)
            case on.ForkRefused():
                self._worker_exited(
                    on.WorkerExited(serial=event.serial, how=event.why, clean=False, killed=False)
                )
            case on.WorkerExited():
                self._worker_exited(event)
            case _:
                raise AssertionError(f"unknown event {event!r}")
        self._advance()
        return self._out

    # time

    def _wake(self, event: on.Woke) -> None:
        late = self._now - self._expected
        if late > OVERSLEPT_S:
            self._report("warning", "overslept", late_s=round(late, 1))
            for worker in self.workers.values():
                worker.deadline += late
                if worker.is_serving():
                    worker.expect_beat(self._now)
            for gen in self.gens.values():
                gen.deadline += late
        for worker in list(self.workers.values()):
            self._wake_worker(worker, event.ticks.get(worker.serial, 0.0))
        for gen in list(self.gens.values()):
            self._wake_zygote(gen)

    def _wake_worker(self, worker: Worker, tick: float) -> None:
        if worker.is_serving() and worker.beat_due <= self._now:
            # A tick from the future is a lie of the app's: it must not buy immortality.
            worker.expect_beat(min(tick, self._now))
            if worker.beat_due <= self._now:
                silent = round(self._now - worker.beat_floor, 1)
                self._condemn(worker, f"its loop has been stuck for {silent} s (timeout)")
        if worker.deadline > self._now:
            return
        match worker.state:
            case WorkerState.BOOTING:
                self._condemn(worker, worker.why or f"not ready within {worker.policy.boot_timeout_s:g} s")
            case WorkerState.READY if worker.why:
                self._condemn(worker, worker.why)
            case WorkerState.READY:
                worker.deadline = NEVER
                self._streak = 0
                if (slot := self.slots.get(worker.slot)) and slot.current is worker:
                    slot.forgive()
            case WorkerState.DRAINING:
                self._condemn(worker, worker.why or "still draining when its graceful time was over")
            case WorkerState.KILLED:
                self._out.append(do.KillWorker(worker.serial, worker.why))
                worker.deadline = self._now + KILL_AGAIN_S

    def _wake_zygote(self, gen: Generation) -> None:
        if gen.state is ZygoteState.EXITED:
            if gen.not_before <= self._now:
                gen.not_before = NEVER
                gen.become(ZygoteState.IMPORTING, self._now + gen.policy.boot_timeout_s)
                self._out.append(do.StartZygote(gen.gen))
        elif gen.deadline <= self._now:
            if gen.state is ZygoteState.IMPORTING:
                self._zygote_lost(gen.gen, f"the app was not imported within {gen.policy.boot_timeout_s:g} s")
            if gen.deadline <= self._now:
                gen.deadline = self._now + KILL_AGAIN_S
                self._out.append(do.KillZygote(gen.gen))

    # what operators ask

    def _stop(self, event: on.StopAsked) -> None:
        again = self._stopping is not None
        if not again:
            self._begin_stop(event.reason, EXIT_OK, quick=event.quick)
        else:
            self._hurry()

    def _begin_stop(self, reason: str, code: int, *, quick: bool) -> None:
        self._stopping = reason
        self._exit_code = code
        self._queued = self.rollout = None
        self._report("info", "stopping", reason=reason)
        for gen in self.gens.values():
            self._dismiss(gen)
        for worker in list(self.workers.values()):
            if quick or worker.state is WorkerState.BOOTING:
                self._quit(worker, reason)
            else:
                self._drain(worker, reason, last=True)

    def _hurry(self) -> None:
        for worker in list(self.workers.values()):
            self._quit(worker, "asked to stop again")

    def _reload(self, policy: Policy) -> None:
        if self._stopping is not None:
            self._report("warning", "reload ignored", reason="stopping")
        elif self.rollout is not None or not self._was_ready:
            self._queued = policy
            self._report("info", "reload queued")
        else:
            self.rollout = Rollout(self._open_generation(policy), policy)
            self._report("info", "reload", gen=self.rollout.gen)

    def _scale(self, by: int) -> None:
        if self._stopping is not None:
            return
        wanted = min(max(1, self.target + by), len(self._rows) + len(self.workers))
        if wanted == self.target:
            self._report("warning", "scale ignored", workers=self.target, reason="the limit is reached")
            return
        self._retarget(wanted)
        self._report("info", "scale", workers=self.target)

    def _retarget(self, workers: int) -> None:
        self.target = workers
        for index in [index for index in self.slots if index >= workers]:
            slot = self.slots.pop(index)
            for worker in (slot.current, slot.successor):
                if worker is not None:
                    self._drain(worker, "scale-down")

    # zygotes

    def _open_generation(self, policy: Policy) -> int:
        self._last_gen += 1
        gen = self._last_gen
        self.gens[gen] = Generation(gen, policy, self._now)
        self._out.append(do.StartZygote(gen))
        return gen

    def _dismiss(self, gen: Generation) -> None:
        match gen.state:
            case ZygoteState.IMPORTING:  # deaf while the app's import runs
                self._out.append(do.KillZygote(gen.gen))
                gen.become(ZygoteState.LEAVING, self._now + KILL_AGAIN_S)
            case ZygoteState.READY:
                self._out.append(do.DismissZygote(gen.gen))
                gen.become(ZygoteState.LEAVING, self._now + LEAVE_GRACE_S)
            case ZygoteState.EXITED:
                gen.not_before = NEVER

    def _zygote_ready(self, number: int) -> None:
        gen = self.gens.get(number)
        if gen is None or gen.state is not ZygoteState.IMPORTING:
            return
        gen.become(ZygoteState.READY)
        gen.streak = 0

    def _zygote_lost(self, number: int, why: str) -> None:
        """It failed or died while we wanted it."""
        if self._stopping is not None:
            return
        if self.rollout is not None and number == self.rollout.gen:
            self._abandon_rollout(why)
        elif not self._was_ready and not self.workers:
            self._begin_stop(why, EXIT_APP, quick=True)

    def _zygote_exited(self, event: on.ZygoteExited) -> None:
        gen = self.gens.get(event.gen)
        if gen is None or gen.state is ZygoteState.EXITED:
            return
        expected = gen.state is ZygoteState.LEAVING
        gen.become(ZygoteState.EXITED)
        for worker in [w for w in self.workers.values() if w.gen == event.gen and w.pid == 0]:
            # Its fork was asked of the dead and never confirmed: it does not exist, or will see its channel closed.
            self._worker_exited(
                on.WorkerExited(serial=worker.serial, how="its zygote died", clean=False, killed=True)
            )
        if expected or self._stopping is not None:
            return
        self._zygote_lost(event.gen, f"the zygote ended ({event.how}) before the app was served")
        if self._stopping is None and event.gen == self.base_gen:
            gen.streak += 1
            delay = delay_s(gen.streak, killed=False, spread=self._spread())
            gen.not_before = self._now + delay
            self._report("warning", "zygote exited", gen=event.gen, how=event.how, again_in_s=round(delay, 2))

    # workers

    def _fork(self, slot: Slot) -> Worker:
        self._serial += 1
        row = min(self._rows)
        self._rows.discard(row)
        worker = Worker(self._serial, slot.index, slot.gen, row, self.gens[slot.gen].policy, self._now)
        self.workers[worker.serial] = worker
        self._out.append(do.ForkWorker(worker.serial, slot.index, slot.gen, row, self.target))
        return worker

    def _worker_ready(self, event: on.WorkerReady) -> None:
        worker = self.workers.get(event.serial)
        if worker is None or worker.state is not WorkerState.BOOTING:
            return
        worker.become(WorkerState.READY, max(self._now, worker.forked_at + worker.policy.min_uptime_s))
        worker.expect_beat(self._now)
        self._was_ready = True
        self._report(
            "info",
            "worker ready",
            slot=worker.slot,
            gen=worker.gen,
            boot_ms=event.boot_ms,
            pid=worker.pid,
        )
        slot = self.slots.get(worker.slot)
        if slot is not None and slot.successor is worker:
            self._promote(slot)

    def _promote(self, slot: Slot) -> None:
        """The successor is READY: only now may the old one drain."""
        old, slot.current, slot.successor = slot.current, slot.successor, None
        slot.forgive()
        if old is not None:
            self._drain(old, "reload")

    def _worker_leaves(self, event: on.WorkerDraining) -> None:
        worker = self.workers.get(event.serial)
        if worker is None or worker.state not in (WorkerState.BOOTING, WorkerState.READY):
            return
        self._report("info", "worker leaves", **self._who(worker), reason=event.reason)
        young = not worker.is_settled(self._now)
        worker.become(WorkerState.DRAINING, self._now + worker.policy.graceful_timeout_s)
        self._vacate(worker, young=young, killed=False, why=event.reason)

    def _worker_failed(self, event: on.WorkerFailed) -> None:
        worker = self.workers.get(event.serial)
        if worker is None or worker.state is not WorkerState.BOOTING:
            return
        worker.why = event.why
        worker.deadline = min(worker.deadline, self._now + DEAF_GRACE_S)

    def _worker_exited(self, event: on.WorkerExited) -> None:
        worker = self.workers.pop(event.serial, None)
        if worker is None:
            return
        was, settled = worker.state, worker.is_settled(self._now)
        why = worker.why
        worker.become(WorkerState.EXITED, NEVER)
        self._rows.add(worker.row)
        self._out.append(do.ForgetWorker(worker.serial))
        asked = was in (WorkerState.DRAINING, WorkerState.KILLED)
        # One line for a crash at boot, not one per worker.
        told = not self._was_ready and any(slot.streak for slot in self.slots.values())
        self._report(
            "info" if asked else "debug" if told else "warning",
            "worker exited",
            **self._who(worker),
            how=event.how,
        )
        if not asked:
            why = f"{why} ({event.how})" if why else event.how
            self._vacate(worker, young=not settled, killed=event.killed, why=why)

    def _vacate(self, worker: Worker, *, young: bool, killed: bool, why: str) -> None:
        """A worker left its slot unasked: count it, and say when the slot may fork again."""
        slot = self.slots.get(worker.slot)
        if slot is None or worker not in (slot.current, slot.successor):
            return
        if slot.successor is worker:
            slot.successor = None
        else:
            slot.current = None
        if self.rollout is not None and worker.gen == self.rollout.gen and young:
            self._abandon_rollout(f"a worker of the new generation failed: {why}")
            return
        if not young:
            slot.forgive()
            return
        slot.streak += 1
        self._streak += not killed
        delay = delay_s(slot.streak, killed=killed, spread=self._spread())
        slot.not_before = self._now + delay
        if not killed:
            self._not_before = self._now + delay_s(self._streak, killed=False, spread=self._spread())
        if self._was_ready and slot.streak > worker.policy.max_restarts:
            slot.failed = True
            self._report("error", "slot failed", slot=slot.index, young_deaths=slot.streak, why=why)

    def _condemn(self, worker: Worker, why: str) -> None:
        """It will be dumped, then killed. Its slot is free at once."""
        if worker.state is WorkerState.KILLED:
            return
        was_asked = worker.state is WorkerState.DRAINING
        young = not worker.is_settled(self._now)
        worker.become(WorkerState.KILLED, self._now + DUMP_GRACE_S)
        worker.why = why
        self._report("error", "worker condemned", **self._who(worker), why=why)
        self._out.append(do.DumpStacks(worker.serial))
        if not was_asked:
            self._vacate(worker, young=young, killed=False, why=why)

    def _drain(self, worker: Worker, reason: str, *, last: bool = False) -> None:
        if worker.state not in (WorkerState.BOOTING, WorkerState.READY):
            return
        graceful_s = worker.policy.graceful_timeout_s
        worker.become(WorkerState.DRAINING, self._now + graceful_s)
        self._out.append(do.DrainWorker(worker.serial, reason, graceful_s, last))

    def _quit(self, worker: Worker, reason: str) -> None:
        if worker.state is WorkerState.KILLED:
            return
        self._out.append(do.QuitWorker(worker.serial))
        if worker.state is not WorkerState.DRAINING:
            worker.become(WorkerState.DRAINING, NEVER)
        worker.why = f"still there {QUICK_STOP_S:g} s after a quick stop ({reason})"
        worker.deadline = min(worker.deadline, self._now + QUICK_STOP_S)

    # towards the wish

    def _advance(self) -> None:
        if self._stopping is None:
            self._give_up_if_nothing_boots()
        if self._stopping is not None:
            self._finish_stop()
            return
        for index in range(self.target):
            if index not in self.slots:
                self.slots[index] = Slot(index, self.base_gen)
        self._roll()
        for slot in self.slots.values():
            self._fill(slot)
        self._forget_generations()
        complete = self._is_complete()
        if complete and not self._was_complete:
            self._was_complete = True
            self._report("info", "serving", workers=self.target, gen=self.base_gen)
        if self._queued is not None and self.rollout is None and self._was_ready:
            queued, self._queued = self._queued, None
            self._reload(queued)

    def _give_up_if_nothing_boots(self) -> None:
        gen = self.gens.get(self.base_gen)
        if self._was_ready or gen is None or not self.slots:
            return
        tried = any(slot.streak for slot in self.slots.values())
        if tried and not any(w.state is WorkerState.BOOTING for w in self.workers.values()):
            self._begin_stop("no worker could be started", EXIT_APP, quick=True)

    def _is_complete(self) -> bool:
        return len(self.slots) == self.target and all(
            slot.is_settled_on_its_gen() for slot in self.slots.values()
        )

    def _is_probing(self) -> bool:
        """Has every worker died young lately, so that the whole service counts as one slot?"""
        return self._streak > 0 and not any(w.is_settled(self._now) for w in self.workers.values())

    def _fill(self, slot: Slot) -> None:
        gen = self.gens.get(slot.gen)
        if slot.failed or slot.successor is not None or gen is None or gen.state is not ZygoteState.READY:
            return
        if not self._rows:
            return
        if slot.current is not None:
            if slot.current.gen != slot.gen:
                slot.successor = self._fork(slot)
            return
        if slot.not_before > self._now or (slot.streak and not self._was_ready):
            return
        if self._is_probing() and (
            self._not_before > self._now
            or any(w.state in (WorkerState.BOOTING, WorkerState.READY) for w in self.workers.values())
        ):
            return
        slot.current = self._fork(slot)

    def _roll(self) -> None:
        rollout = self.rollout
        if rollout is None or self.gens[rollout.gen].state is not ZygoteState.READY:
            return
        rollout.is_canary_up = rollout.is_canary_up or self.rolled() > 0
        width = rollout.policy.surge if rollout.is_canary_up else 1
        moving = sum(1 for s in self.slots.values() if s.gen == rollout.gen and not s.is_settled_on_its_gen())
        for slot in self.slots.values():
            if slot.gen != rollout.gen and moving < width:
                slot.gen = rollout.gen
                slot.forgive()
                moving += 1
        if moving == 0:
            self._finish_rollout(rollout)

    def _finish_rollout(self, rollout: Rollout) -> None:
        self._report("info", "reloaded", gen=rollout.gen, workers=len(self.slots))
        if rollout.policy.workers != self._policy.workers:
            self._retarget(rollout.policy.workers)
        self.rollout = None
        self._policy = rollout.policy
        self.base_gen = rollout.gen
        for gen in self.gens.values():
            if gen.gen != self.base_gen:
                self._dismiss(gen)
        for index in range(self.target):
            if index not in self.slots:
                self.slots[index] = Slot(index, self.base_gen)

    def _abandon_rollout(self, why: str) -> None:
        rollout = self.rollout
        if rollout is None:
            return
        self.rollout = None
        self._report("error", "reload failed", gen=rollout.gen, why=why, kept_gen=self.base_gen)
        for slot in self.slots.values():
            if slot.gen != rollout.gen:
                continue
            slot.gen = self.base_gen
            slot.forgive()
            if slot.successor is not None and slot.successor.gen == rollout.gen:
                failed, slot.successor = slot.successor, None
                self._quit(failed, "the reload failed")
        self._dismiss(self.gens[rollout.gen])

    def _forget_generations(self) -> None:
        used = {worker.gen for worker in self.workers.values()} | {self.base_gen}
        used |= {slot.gen for slot in self.slots.values()}
        if self.rollout is not None:
            used.add(self.rollout.gen)
        for gen in list(self.gens.values()):
            if gen.gen not in used and gen.state is ZygoteState.EXITED:
                del self.gens[gen.gen]

    def _finish_stop(self) -> None:
        if self._is_listening:
            # The workers told to drain as the last ones empty the accept queue through their own copies.
            self._is_listening = False
            self._out.append(do.CloseListeners())
        if not self.workers and all(gen.state is ZygoteState.EXITED for gen in self.gens.values()):
            self._out.append(do.Exit(self._exit_code))

    # words

    def _who(self, worker: Worker) -> dict[str, str | int | float]:
        return {"slot": worker.slot, "gen": worker.gen, "pid": worker.pid}

    def _report(self, level: do.Level, event: str, **fields: str | float) -> None:
        self._out.append(do.Report(level, event, dict(fields)))
