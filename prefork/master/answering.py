"""What an operator asks of the master → events for the Arbiter, and the answer, line by line.

It decides nothing: what may be done is the Arbiter's business, and an answer only tells what came of it. Every wait
ends: by what was asked, by the end of the service, or by a deadline.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prefork.control import requests as ask
from prefork.control.ring import Ring
from prefork.control.server import Answers, Reply
from prefork.core import events as on
from prefork.core.history import OK
from prefork.core.policy import LEAVE_GRACE_S, QUICK_STOP_S
from prefork.core.rollout import count_moved, find_stage
from prefork.core.states import ServiceState, WorkerState
from prefork.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, refuse_unreachable
from prefork.master.children import WorkerHandle
from prefork.system import clock, processes
from prefork.system.cpus import count_cpus
from prefork.system.peers import Peer

if TYPE_CHECKING:
    from prefork.master.loop import Master

logger = logging.getLogger("prefork.control")

DUMP_S = 1.0
"""A worker that runs has begun to write its stacks within this."""
DUMP_QUIET_S = 0.05
"""It is done when nothing more came for so long."""


class Answering:
    """One master's answers."""

    def __init__(self, master: Master, ring: Ring) -> None:
        self._master = master
        self._ring = ring

    def take(self, request: ask.AnyRequest, peer: Peer | None) -> Reply:
        """What it brings about. Never raises."""
        match request:
            case ask.AskStatus():
                reply = Reply(iter(()), self._tell_status())
            case ask.AskEvents():
                reply = Reply(iter(()), self._tell_events(follow=request.follow))
            case ask.AskStacks():
                reply = self._dump(request)
            case ask.AskStop():
                _note("asked to stop", peer, quick="yes" if request.quick else "no")
                reply = Reply(self._stop(quick=request.quick), self._tell_stop())
            case ask.AskScale() | ask.AskReload() | ask.AskRestart() | ask.AskDrain():
                stopping = self._is_stopping()
                reply = _refuse("the service is stopping") if stopping else self._change(request, peer)
            case _:
                refuse_unreachable(request)
        return reply

    def _change(
        self, request: ask.AskScale | ask.AskReload | ask.AskRestart | ask.AskDrain, peer: Peer | None
    ) -> Reply:
        match request:
            case ask.AskScale():
                _note("asked to scale", peer, **_describe_scale(request))
                reply = self._scale(request)
            case ask.AskReload():
                _note("asked to reload", peer)
                gen = self._master.arbiter.fleet.last_gen + 1
                reply = Reply(self._master.read_configuration(), self._tell_reload(gen, wait=request.wait))
            case ask.AskRestart():
                reply = self._replace(request, peer)
            case ask.AskDrain():
                _note("asked to drain" if request.drained else "asked to undrain", peer)
                reply = Reply(iter(()), self._drain(drained=request.drained))
            case _:
                refuse_unreachable(request)
        return reply

    def _is_stopping(self) -> bool:
        return self._master.arbiter.state() is ServiceState.STOPPING

    # looking

    def _tell_status(self) -> Answers:
        yield ask.Told(self._master.report())
        yield ask.Done()

    def _tell_events(self, *, follow: bool) -> Answers:
        number = self._ring.first
        while True:
            line, number = self._ring.read(number)
            if line is None and not follow:
                yield ask.Done()
                return
            if line is None and self._master.exit is not None:
                yield ask.Done("the service has ended")
                return
            yield line

    def _dump(self, request: ask.AskStacks) -> Reply:
        workers = [
            worker
            for worker in self._master.children.workers.values()
            if request.slot in (None, worker.slot) and worker.pid and not worker.is_reaped
        ]
        if not workers:
            return Reply(
                iter(()), iter([ask.Failed(self._say_no_worker(request.slot), exit_code=EXIT_USAGE)])
            )
        return Reply(iter(()), self._tell_stacks([(worker, worker.ask_stacks()) for worker in workers]))

    def _tell_stacks(self, asked: list[tuple[WorkerHandle, int]]) -> Answers:
        deadline, fleet = clock.monotonic() + DUMP_S, self._master.arbiter.fleet
        for worker, since in asked:
            text = ""
            while True:
                before, text = text, worker.read_stacks(since)
                is_gone = worker.serial not in fleet.workers
                if (text and text == before) or is_gone or clock.monotonic() >= deadline:
                    break
                yield min(deadline, clock.monotonic() + DUMP_QUIET_S)
            known = fleet.workers.get(worker.serial)
            state = known.state.value if known is not None else "exited"
            if not text and processes.read_state(worker.pid) == "T":
                state = "stopped"
            yield ask.Stacks(worker.slot, worker.pid, state, text)
        yield ask.Done()

    # changing

    def _scale(self, request: ask.AskScale) -> Reply:
        was = self._master.arbiter.fleet.target
        to = count_cpus().count if request.to == "max" else request.to or 0
        return Reply(
            iter([on.ScaleAsked(by=request.by, to=to)]), self._tell_scale(was, to or was + request.by)
        )

    def _tell_scale(self, was: int, asked: int) -> Answers:
        fleet = self._master.arbiter.fleet
        limit = "" if fleet.target == asked else " (as far as it goes)"
        plural = "" if fleet.target == 1 else "s"
        yield ask.Done(
            f"{fleet.target} worker{plural}, was {was}{limit}", {"workers": fleet.target, "was": was}
        )

    def _tell_reload(self, gen: int, *, wait: bool) -> Answers:
        master, arbiter = self._master, self._master.arbiter
        fleet, history, said = arbiter.fleet, arbiter.fleet.history, None
        if (refused := self._find_refusal()) is not None:
            yield refused
            return
        while history.last_gen < gen:
            # Once it has begun or is queued, a refusal is that of a later request.
            is_accepted = arbiter.has_queued() or fleet.last_gen >= gen
            if not is_accepted and (refused := self._find_refusal()) is not None:
                yield refused
                return
            if self._is_stopping() or master.exit is not None:
                yield ask.Failed("the reload was given up: the service is stopping")
                return
            if not master.is_reloading():
                yield ask.Failed("the reload was given up: all workers drain")
                return
            if is_accepted and not wait:
                yield ask.Done("reload queued" if arbiter.has_queued() else "reloading", {"gen": gen})
                return
            now = self._find_progress(gen) if is_accepted else said  # until then, code of the user's is read
            yield now if now != said else None
            said = now
        if history.last_gen > gen or history.last_reload == OK:
            workers = "1 worker runs" if fleet.target == 1 else f"{fleet.target} workers run"
            yield ask.Done(f"reloaded, {workers} generation {gen}", {"gen": gen})
        else:
            yield self._explain_failure(gen, history.last_reload)

    def _find_refusal(self) -> ask.Failed | None:
        error = self._master.refusal
        if error is None:
            return None
        return ask.Failed(f"reload refused: {error.message}", error.hints, error.exit_code)

    def _find_progress(self, gen: int) -> ask.Progress:
        fleet = self._master.arbiter.fleet
        rollout = fleet.rollout
        if rollout is None or rollout.gen != gen:
            return ask.Progress(gen, 0, fleet.target, "queued")
        return ask.Progress(gen, count_moved(fleet), fleet.target, find_stage(fleet, rollout))

    def _explain_failure(self, gen: int, why: str) -> ask.Failed:
        error = self._master.find_failure(gen)
        kept = f"generation {self._master.arbiter.fleet.base_gen} serves on, unchanged"
        if error is None:
            return ask.Failed(f"the reload failed: {why}", (kept,), EXIT_FAILED)
        return ask.Failed(
            f"the reload failed: {error.message}", (*error.hints[:2], kept), error.exit_code, error.traceback
        )

    def _replace(self, request: ask.AskRestart, peer: Peer | None) -> Reply:
        slot = self._master.arbiter.fleet.slots.get(request.slot)
        if slot is None:
            return _refuse(self._say_no_worker(request.slot), EXIT_USAGE)
        _note("asked to restart", peer, slot=request.slot)
        old = slot.current.serial if slot.current is not None else 0
        return Reply(
            iter([on.ReplaceAsked(request.slot)]), self._tell_replaced(request.slot, old, wait=request.wait)
        )

    def _tell_replaced(self, index: int, old: int, *, wait: bool) -> Answers:
        fleet = self._master.arbiter.fleet
        if not wait:
            yield ask.Done(f"worker {index} is being replaced")
            return
        policy = fleet.policy
        patience_s = policy.boot_timeout_s + policy.min_uptime_s + LEAVE_GRACE_S
        deadline = clock.monotonic() + patience_s
        while (slot := fleet.slots.get(index)) is not None and not self._is_stopping():
            current = slot.current
            if current is not None and current.serial != old and current.state is WorkerState.READY:
                yield ask.Done(f"worker {index} is pid {current.pid} now", {"pid": current.pid})
                return
            if clock.monotonic() >= deadline:
                yield ask.Failed(f"worker {index} has no successor yet after {patience_s:g} s")
                return
            yield deadline
        yield ask.Failed(f"worker {index} is not wanted any more")

    def _stop(self, *, quick: bool) -> Iterator[on.AnyEvent]:
        if quick or not self._is_stopping():  # a second request would make a graceful stop quick
            yield on.StopAsked(quick=quick, reason="stop")

    def _tell_stop(self) -> Answers:
        fleet, said = self._master.arbiter.fleet, -1
        policy = fleet.policy
        patience_s = policy.shutdown_delay_s + policy.graceful_timeout_s + QUICK_STOP_S + 2 * LEAVE_GRACE_S
        while (end := self._master.exit) is None:
            if len(fleet.workers) == said:
                yield None
                continue
            said = len(fleet.workers)
            yield ask.Stopping(said, patience_s)
        if end.code == EXIT_OK:
            yield ask.Done("stopped")
        else:
            yield ask.Failed(f"it ended with {end.code}: {end.why}", exit_code=EXIT_FAILED)

    def _drain(self, *, drained: bool) -> Answers:
        self._master.is_drained = drained
        yield ask.Done("out of rotation, and serving whoever comes" if drained else "in rotation")

    def _say_no_worker(self, slot: int | None) -> str:
        slots = self._master.arbiter.fleet.slots
        if slot is None or not slots:
            return "there is no worker"
        if slot in slots:
            return f"worker {slot} is not there at the moment"
        return f"no worker {slot}: there are 0 to {len(slots) - 1}"


def _refuse(message: str, exit_code: int = EXIT_FAILED) -> Reply:
    return Reply(iter(()), iter([ask.Failed(message, exit_code=exit_code)]))


def _note(event: str, peer: Peer | None, **fields: str | int) -> None:
    who = {"uid": peer.uid, "by_pid": peer.pid} if peer is not None else {}
    logger.info(event, extra={**fields, **who})


def _describe_scale(request: ask.AskScale) -> dict[str, str | int]:
    return {"to": request.to} if request.to is not None else {"by": f"{request.by:+}"}
