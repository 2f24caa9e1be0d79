"""A reload, step by step: the new generation's zygote first, then one canary, then a few slots at a time.

Never drains an old worker itself: that follows from a successor's READY (`Fleet.promote`). Any failure before the end
moves every slot's wish back to the generation that was there, whose zygote stays until the end for that reason.
"""

from __future__ import annotations

from prefork.core.actions import AdoptConfiguration
from prefork.core.fleet import Fleet
from prefork.core.policy import Policy
from prefork.core.records import Rollout
from prefork.core.states import ZygoteState


def begin(fleet: Fleet, policy: Policy) -> None:
    """Start the zygote of the new generation."""
    fleet.rollout = Rollout(fleet.open_generation(policy), policy)
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
    rollout.is_canary_up = rollout.is_canary_up or count_moved(fleet) > 0
    width = rollout.policy.surge if rollout.is_canary_up else 1
    moving = sum(1 for slot in fleet.slots.values() if slot.gen == rollout.gen and not slot.is_served())
    for slot in fleet.slots.values():
        if slot.gen != rollout.gen and moving < width:
            slot.gen = rollout.gen
            slot.forgive()
            moving += 1
    if moving == 0:
        _finish(fleet, rollout)


def count_moved(fleet: Fleet) -> int:
    """How many slots run the newest generation."""
    gen = fleet.rollout.gen if fleet.rollout else fleet.base_gen
    return sum(1 for slot in fleet.slots.values() if slot.gen == gen and slot.is_served())


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
    fleet.report("info", "reloaded", gen=rollout.gen, workers=fleet.target)


def _abandon(fleet: Fleet, rollout: Rollout) -> None:
    fleet.rollout = None
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
            fleet.quit(failed, "the reload failed")
    fleet.dismiss(fleet.gens[rollout.gen])
