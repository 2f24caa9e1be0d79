"""The fleet: every worker, slot and generation, and what can be done to them.

It decides small things (may this slot fork now? how long must it wait?) and writes the actions down; the Arbiter
decides which of its methods an event calls for. It is steered by reconciliation: each slot says which generation it
*wants*, and `fill` compares that with who is there. A rollout only moves the wish from slot to slot, a rollback moves
it back, and a crash needs no case of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from prefork.core import actions as do
from prefork.core.history import History
from prefork.core.policy import (
    DUMP_GRACE_S,
    KILL_AGAIN_S,
    LEAVE_GRACE_S,
    QUICK_STOP_S,
    Policy,
)
from prefork.core.reasons import Reason, classify_end, classify_retirement
from prefork.core.records import NEVER, Generation, Rollout, Slot, Worker
from prefork.core.respawn import delay_s
from prefork.core.retirees import Retirees
from prefork.core.states import WorkerState, ZygoteState

Fields = dict[str, str | float]


class Fleet:
    """Everything the Arbiter remembers. `now` and `out` are set by the Arbiter before each event."""

    def __init__(self, policy: Policy, spread: Callable[[], float], rows: int) -> None:
        self.now = 0.0
        self.out: list[do.Action] = []
        self.policy = policy
        self.target = policy.workers
        self.base_gen = 1
        self.slots: dict[int, Slot] = {}
        self.workers: dict[int, Worker] = {}
        self.gens: dict[int, Generation] = {}
        self.rollout: Rollout | None = None
        self.history = History()
        self.parked = 0
        """How many workers there were before all were drained (WINCH); 0 if that did not happen."""
        self.was_ready = False
        """Has any worker ever been ready? Until then a failure is the start's, and ends it."""
        self.first_failure = ""
        """Why the first worker that failed did."""
        self._spread = spread
        self._retirees = Retirees()
        self._rows = set(range(rows))
        self._serial = 0
        self.last_gen = 0
        """The newest there ever was."""
        self._streak = 0
        self._not_before = 0.0

    # questions

    def is_complete(self) -> bool:
        """Does every slot have a ready worker of the generation it wants?"""
        return 0 < len(self.slots) == self.target and all(slot.is_served() for slot in self.slots.values())

    def is_probing(self) -> bool:
        """Has every worker died young lately, so that the whole service counts as one slot?"""
        return self._streak > 0 and not self._is_anyone_settled()

    def has_given_up_booting(self) -> bool:
        """Has everything that was forked at the start failed, with nothing ever ready?"""
        tried = any(slot.streak for slot in self.slots.values())
        booting = any(w.state is WorkerState.BOOTING for w in self.workers.values())
        return not self.was_ready and tried and not booting

    def room_for(self) -> int:
        """How many workers the scoreboard has rows for."""
        return len(self._rows) + len(self.workers)

    def find_retry(self, slot: Slot) -> float:
        """From when on somebody may be forked into this slot; in the past if only something else is waited for."""
        return max(slot.not_before, self._not_before if self.is_probing() else 0.0)

    def next_deadline(self) -> float:
        """The next moment at which time alone changes something; NEVER if there is none."""
        deadline = NEVER
        for worker in self.workers.values():
            deadline = min(deadline, worker.deadline, worker.beat_due, worker.stall_due)
        for gen in self.gens.values():
            deadline = min(deadline, gen.not_before if gen.state is ZygoteState.EXITED else gen.deadline)
        if self.rollout is not None:
            deadline = min(deadline, self.rollout.deadline)
        for slot in self.slots.values():
            if self.was_ready and self._is_wanting(slot) and not slot.failed:
                due = self.find_retry(slot)
                # A slot that waits for something else than time must not make the master spin.
                if due > self.now:
                    deadline = min(deadline, due)
        return deadline

    # zygotes

    def open_generation(self, policy: Policy) -> int:
        """Start the zygote of a new generation; returns its number."""
        self.last_gen += 1
        gen = self.last_gen
        self.gens[gen] = Generation(gen, policy, self.now)
        self.out.append(do.StartZygote(gen))
        return gen

    def restart_zygote(self, gen: Generation) -> None:
        """The zygote of a generation in service died: its workers live, but it is needed for the next fork."""
        gen.not_before = NEVER
        gen.why = ""
        gen.become(ZygoteState.IMPORTING, self.now + gen.policy.boot_timeout_s)
        self.out.append(do.StartZygote(gen.gen))

    def back_off_zygote(self, gen: Generation, how: str) -> None:
        """It died while we wanted it: again, but not at once."""
        gen.streak += 1
        delay = delay_s(gen.streak, killed=False, spread=self._spread())
        gen.not_before = self.now + delay
        self.report("warning", "zygote exited", gen=gen.gen, how=how, again_in_s=round(delay, 2))

    def give_up_zygote(self, number: int, why: str) -> None:
        """It is there, and does not do its work: stopped, or stuck. Its workers live on; another takes its place."""
        gen = self.gens.get(number)
        if gen is None or gen.state is ZygoteState.EXITED:
            return
        if not gen.why:
            gen.why = why
            self.report("error", "zygote given up", gen=number, why=why)
        gen.deadline = self.now + KILL_AGAIN_S
        self.out.append(do.KillZygote(number))

    def dismiss(self, gen: Generation) -> None:
        """Its forks are not needed any more. It guards its last workers to their end, then it goes."""
        match gen.state:
            case ZygoteState.IMPORTING:  # deaf while the app's import runs
                self.out.append(do.KillZygote(gen.gen))
                gen.become(ZygoteState.LEAVING, self.now + KILL_AGAIN_S)
            case ZygoteState.READY:
                self.out.append(do.DismissZygote(gen.gen))
                gen.become(ZygoteState.LEAVING)
                self._hurry_leaving(gen)
            case ZygoteState.EXITED:
                gen.not_before = NEVER
            case ZygoteState.LEAVING:
                pass

    def forget_generations(self) -> None:
        """Drop what no worker, slot or rollout refers to any more."""
        used = {worker.gen for worker in self.workers.values()} | {self.base_gen}
        used |= {slot.gen for slot in self.slots.values()}
        if self.rollout is not None:
            used.add(self.rollout.gen)
        for gen in list(self.gens.values()):
            if gen.gen not in used and gen.state is ZygoteState.EXITED:
                del self.gens[gen.gen]

    def _hurry_leaving(self, gen: Generation) -> None:
        if gen.deadline == NEVER and not any(w.gen == gen.gen for w in self.workers.values()):
            gen.deadline = self.now + LEAVE_GRACE_S

    # workers

    def add_slots(self) -> None:
        """Make the slots up to the target."""
        for index in range(self.target):
            if index not in self.slots:
                self.slots[index] = Slot(index, self.base_gen)

    def retarget(self, workers: int, reason: str = "scale-down") -> None:
        """Change how many; the highest slots go first."""
        self.parked = 0
        self.target = workers
        for index in [index for index in self.slots if index >= workers]:
            slot = self.slots.pop(index)
            for worker in (slot.current, slot.successor):
                if worker is not None:
                    self.drain(worker, reason)
        self.add_slots()

    def park(self, reason: str) -> None:
        """Everybody drains and nobody follows; connections wait in the backlog."""
        parked = self.target
        self.retarget(0, reason)
        self.parked = parked

    def retire(self, worker: Worker, reason: str) -> None:
        """It asked to be replaced: when its turn comes."""
        if self._retirees.add(worker, reason):
            self.report("info", "worker retires", **who(worker), reason=reason)

    def fill(self, slot: Slot) -> None:
        """Fork what this slot lacks, if it may fork now."""
        gen = self.gens.get(slot.gen)
        if slot.current is None and slot.successor is not None and slot.successor.state is WorkerState.READY:
            self.promote(slot)  # it was settling, or its promotion was near: nobody else is here now
        if slot.failed or gen is None or gen.state is not ZygoteState.READY:
            return
        if not self._is_wanting(slot) or slot.not_before > self.now:
            return
        if slot.current is not None:
            slot.successor = self._fork(slot)
            return
        if slot.streak and not self.was_ready:
            return
        if self.is_probing() and (self._not_before > self.now or self._is_anyone_trying()):
            return
        slot.current = self._fork(slot)

    def promote(self, slot: Slot) -> None:
        """The successor is READY: only now may the old one drain."""
        old, slot.current, slot.successor = slot.current, slot.successor, None
        slot.forgive()
        if old is not None:
            is_reload = old.gen != slot.gen
            slot.last_reason = "reload" if is_reload else old.retiring
            if not is_reload:
                self._count_restart(slot, classify_retirement(old.retiring))
            self.drain(old, slot.last_reason)

    def settle(self, worker: Worker) -> None:
        """It has lived for min-uptime: its slot and the service are forgiven."""
        worker.deadline = NEVER
        self._streak = 0
        if (slot := self.slots.get(worker.slot)) and slot.current is worker:
            slot.forgive()

    def drain(self, worker: Worker, reason: str, *, last: bool = False) -> None:
        """Ask it to leave rotation and end. `last`: nobody else will accept."""
        if worker.state not in (WorkerState.BOOTING, WorkerState.READY):
            return
        graceful_s = worker.policy.graceful_timeout_s
        worker.leaving = reason
        worker.has_left = worker.state is WorkerState.BOOTING
        worker.become(WorkerState.DRAINING, self.now + graceful_s)
        self.out.append(do.DrainWorker(worker.serial, reason, graceful_s, last))

    def tell_last(self, worker: Worker, reason: str) -> None:
        """It drains already, but now nobody else will accept: what waits in the accept queue is for it."""
        graceful_s = max(0.0, worker.deadline - self.now)
        self.out.append(do.DrainWorker(worker.serial, reason, graceful_s, last=True))

    def leave(self, worker: Worker, reason: str) -> None:
        """It is not wanted any more: what it serves already is answered, what only boots ends at once."""
        if worker.state is WorkerState.BOOTING:
            self.quit(worker, reason)
        else:
            self.drain(worker, reason)

    def quit(self, worker: Worker, reason: str) -> None:
        """Ask it to end at once."""
        if worker.state is WorkerState.KILLED:
            return
        self.out.append(do.QuitWorker(worker.serial))
        worker.leaving = worker.leaving or reason
        worker.has_left = True
        if worker.state is not WorkerState.DRAINING:
            worker.become(WorkerState.DRAINING, NEVER)
        worker.why = f"still there {QUICK_STOP_S:g} s after a quick stop ({reason})"
        worker.deadline = min(worker.deadline, self.now + QUICK_STOP_S)

    def condemn(self, worker: Worker, why: str, reason: Reason) -> None:
        """It will be dumped, then killed. Its slot is free at once."""
        if worker.state is WorkerState.KILLED:
            return
        was_asked = worker.state is WorkerState.DRAINING
        young = not worker.is_settled(self.now)
        worker.become(WorkerState.KILLED, self.now + DUMP_GRACE_S)
        worker.why = why
        self.report("error", "worker condemned", **who(worker), why=why)
        self.out.append(do.DumpStacks(worker.serial))
        if not was_asked:
            self.vacate(worker, young=young, killed=False, why=why, reason=reason)

    def leave_alone(self, worker: Worker, reason: str) -> None:
        """It drains of its own accord."""
        young = not worker.is_settled(self.now)
        worker.leaving = reason
        worker.has_left = True
        worker.become(WorkerState.DRAINING, self.now + worker.policy.graceful_timeout_s)
        self.vacate(worker, young=young, killed=False, why=reason, reason="left")

    def bury(
        self,
        worker: Worker,
        how: str,
        *,
        killed: bool,
        reason: Reason | None = None,
        cut: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """It was reaped; `cut` says what went with it. `reason`: if `how` does not say it."""
        was, settled, why = worker.state, worker.is_settled(self.now), worker.why
        worker.become(WorkerState.EXITED, NEVER)
        del self.workers[worker.serial]
        self._rows.add(worker.row)
        self.out.append(do.ForgetWorker(worker.serial))
        gen = self.gens.get(worker.gen)
        if gen is not None and gen.state is ZygoteState.LEAVING:
            self._hurry_leaving(gen)
        asked = was in (WorkerState.DRAINING, WorkerState.KILLED)
        # One line for a crash at boot, not one per worker.
        told = not self.was_ready and any(slot.streak for slot in self.slots.values())
        fields: Fields = {**who(worker), "how": how, **cut}
        self.report(
            "info" if asked and not cut else "debug" if told else "warning", "worker exited", **fields
        )
        if not asked:
            why = f"{why} ({how})" if why else how
            reason = reason or classify_end(how, was_booting=was is WorkerState.BOOTING, killed=killed)
            self.vacate(worker, young=not settled, killed=killed, why=why, reason=reason)

    def vacate(self, worker: Worker, *, young: bool, killed: bool, why: str, reason: Reason) -> None:
        """A worker left its slot unasked: count it, and say when the slot may fork again."""
        slot = self.slots.get(worker.slot)
        if slot is None or worker not in (slot.current, slot.successor):
            return
        slot.last_reason = why
        self._count_restart(slot, reason)
        if slot.successor is worker:
            slot.successor = None
        else:
            slot.current = None
        rollout = self.rollout
        if rollout is not None and worker.gen == rollout.gen and (young or not rollout.has_settled):
            rollout.failure = rollout.failure or f"a worker of the new generation failed: {why}"
            return
        if not young:
            slot.forgive()
            return
        slot.streak += 1
        self.first_failure = self.first_failure or why
        delay = delay_s(slot.streak, killed=killed, spread=self._spread())
        slot.not_before = self.now + delay
        if not killed and not self._is_anyone_settled():
            self._streak += 1
            self._not_before = self.now + delay_s(self._streak, killed=False, spread=self._spread())
        if self.was_ready and not killed and slot.streak > worker.policy.max_restarts:
            slot.failed = True
            self.report(
                "error",
                "slot failed",
                slot=slot.index,
                young_deaths=slot.streak,
                why=why,
                again="at the next reload",
            )

    def _count_restart(self, slot: Slot, reason: Reason) -> None:
        """The service's number is the sum of its slots', those that a scale-down took with them."""
        slot.restarts += 1
        self.history.count_restart(reason)

    def report(self, level: do.Level, event: str, **fields: str | float) -> None:
        """A line for the log."""
        self.out.append(do.Report(level, event, dict(fields)))

    def _is_wanting(self, slot: Slot) -> bool:
        """Shall somebody be forked into it, as soon as that may be?"""
        if slot.current is None or slot.successor is not None:
            return slot.is_vacant()
        return slot.current.gen != slot.gen or slot.current is self._find_retiree()

    def _find_retiree(self) -> Worker | None:
        """Nobody during a rollout, which replaces everybody."""
        return None if self.rollout is not None else self._retirees.find_next(self.slots, self.now)

    def _fork(self, slot: Slot) -> Worker | None:
        if not self._rows:
            return None
        self._serial += 1
        row = min(self._rows)
        self._rows.discard(row)
        worker = Worker(self._serial, slot.index, slot.gen, row, self.gens[slot.gen].policy, self.now)
        self.workers[worker.serial] = worker
        self.out.append(do.ForkWorker(worker.serial, slot.index, slot.gen, row, self.target))
        return worker

    def _is_anyone_settled(self) -> bool:
        return any(worker.is_settled(self.now) for worker in self.workers.values())

    def _is_anyone_trying(self) -> bool:
        trying = (WorkerState.BOOTING, WorkerState.READY)
        return any(worker.state in trying for worker in self.workers.values())


def who(worker: Worker) -> Fields:
    """Which worker, for a log line."""
    return {"slot": worker.slot, "gen": worker.gen, "pid": worker.pid}
