"""A reload, step by step: the new generation's zygote first, then one canary, then a few slots at a time.

Never drains an old worker before a successor is READY (`Fleet.promote`), and the canary's predecessor not before the
canary has settled. Any failure before the end moves every slot's wish back to the generation that was there, whose
zygote stays until the end for that reason.
"""

from __future__ import annotations

from typing import Literal

from prefork.core.actions import AdoptConfiguration
from prefork.core.fleet import Fleet
from prefork.core.policy import LEAVE_ROTATION_S, Policy
from prefork.core.records import NEVER, Rollout, Slot
from prefork.core.states import WorkerState, ZygoteState

Stage = Literal["importing", "canary", "settling", "rolling", "draining"]


def begin(fleet: Fleet, policy: Policy) -> None:
    """Start the zygote of the new generation."""
    fleet.rollout = Rollout(fleet.open_generation(policy), policy, fleet.now)
    fleet.report("info", "reload", gen=fleet.rollout.gen)


def step(fleet: Fleet) -> None:
    """Move as many slots on as may be moved now; finish or abandon."""
    rollout = fleet.rollout
    if rollout is None:
        return
    if rollout.failure:
        _abandon(fleet, rollout)
        return
    if fleet.gens[rollout.gen].state is not ZygoteState.READY:
        return
    rollout.deadline = NEVER
    if not rollout.has_settled:
        _settle_canary(fleet, rollout)
    moved = [slot for slot in fleet.slots.values() if slot.gen == rollout.gen]
    moving, width = len(moved), 1
    if rollout.has_settled:
        moving = sum(1 for slot in moved if not slot.is_served())
        width = count_surge(rollout.policy, fleet.target)
    for slot in fleet.slots.values():
        if slot.gen != rollout.gen and moving < width:
            slot.gen = rollout.gen
            slot.forgive()
            moving += 1
    if moving == 0 and (rollout.has_settled or not fleet.slots) and _has_left(fleet, rollout):
        _finish(fleet, rollout)


def count_surge(policy: Policy, workers: int) -> int:
    """How many successors may boot at the same time, at least one."""
    return max(1, policy.surge, -(-workers * policy.surge_percent // 100))


def count_moved(fleet: Fleet) -> int:
    """How many slots run the newest generation."""
    gen = fleet.rollout.gen if fleet.rollout else fleet.base_gen
    return sum(1 for slot in fleet.slots.values() if slot.gen == gen and slot.is_served())


def find_stage(fleet: Fleet, rollout: Rollout) -> Stage:
    """Which step it is at, in the order in which they come."""
    if fleet.gens[rollout.gen].state is ZygoteState.IMPORTING:
        return "importing"
    if not rollout.has_settled:
        return "canary" if rollout.deadline == NEVER else "settling"
    return (
        "draining" if all(s.gen == rollout.gen and s.is_served() for s in fleet.slots.values()) else "rolling"
    )


def is_settling(fleet: Fleet, slot: Slot) -> bool:
    """Is its successor a canary that has to prove itself before it takes over?"""
    rollout = fleet.rollout
    return (
        rollout is not None
        and not rollout.has_settled
        and slot.current is not None
        and slot.successor is not None
        and slot.successor.gen == rollout.gen
    )


def _settle_canary(fleet: Fleet, rollout: Rollout) -> None:
    for slot in fleet.slots.values():
        worker = slot.successor or slot.current
        if worker is None or worker.gen != rollout.gen or worker.state is not WorkerState.READY:
            continue
        rollout.deadline = worker.ready_at + rollout.policy.settle_s
        if rollout.deadline <= fleet.now:
            rollout.deadline = NEVER
            rollout.has_settled = True
            if slot.successor is worker:
                fleet.promote(slot)
            return


def _has_left(fleet: Fleet, rollout: Rollout) -> bool:
    """Does no old worker accept any more? One that is stuck does not accept either, and is not waited for."""
    staying = [
        worker
        for worker in fleet.workers.values()
        if worker.gen != rollout.gen and worker.state is WorkerState.DRAINING and not worker.has_left
    ]
    rollout.finish_by = min(rollout.finish_by, fleet.now + LEAVE_ROTATION_S)
    if staying and rollout.finish_by > fleet.now:
        rollout.deadline = rollout.finish_by
        return False
    return True


def _finish(fleet: Fleet, rollout: Rollout) -> None:
    fleet.rollout = None
    fleet.base_gen = rollout.gen
    fleet.out.append(AdoptConfiguration(fleet.base_gen))
    changed = rollout.policy.workers != fleet.policy.workers
    fleet.policy = rollout.policy
    for gen in fleet.gens.values():
        if gen.gen != fleet.base_gen:
            fleet.dismiss(gen)
    if changed:  # else TTIN and TTOU stay in force
        fleet.retarget(rollout.policy.workers)
    elif fleet.parked:
        fleet.retarget(fleet.parked)
    fleet.history.count_reload(rollout.gen)
    fleet.report("info", "reloaded", gen=rollout.gen, workers=fleet.target)


def _abandon(fleet: Fleet, rollout: Rollout) -> None:
    fleet.rollout = None
    fleet.history.count_rollback(rollout.gen, rollout.failure)
    fleet.report("error", "reload failed", gen=rollout.gen, why=rollout.failure, kept_gen=fleet.base_gen)
    fleet.out.append(
        AdoptConfiguration(fleet.base_gen)
    )  # first: who is told to go would not empty the backlogs
    for slot in fleet.slots.values():
        if slot.gen != rollout.gen:
            continue
        slot.gen = fleet.base_gen
        slot.forgive()
        if slot.successor is not None and slot.successor.gen == rollout.gen:
            failed, slot.successor = slot.successor, None
            fleet.leave(failed, "the reload failed")
    fleet.dismiss(fleet.gens[rollout.gen])
