"""Fleet, books and configuration → the service's status. It reads and changes nothing, and costs well under a
millisecond for tens of workers: it is made for everybody who asks.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

import prefork
from prefork.config.model import Config
from prefork.config.values import resolve_share
from prefork.control import status as told
from prefork.core.arbiter import Arbiter
from prefork.core.figures import Record, Summary, find_percentile, summarise
from prefork.core.fleet import Fleet
from prefork.core.records import NEVER, Slot, Worker
from prefork.core.rollout import count_moved, find_stage
from prefork.core.states import WorkerState
from prefork.ipc.messages import Imported
from prefork.master.ledger import Ledger
from prefork.master.provisions import Provision
from prefork.system import clock, processes
from prefork.system.backlog import count_waiting
from prefork.system.listeners import Listener


class Standing(NamedTuple):
    """What only the master knows of itself."""

    started_at: float
    """Unix seconds."""
    started: float
    """Monotonic seconds."""
    is_drained: bool


def count_min_ready(config: Config, fleet: Fleet) -> int:
    """How many workers must be ready for the service to be."""
    # Of those wanted now: who has scaled down to two does not wait for a third.
    return max(1, min(resolve_share(config.min_ready, fleet.target), fleet.target))


def report_service(
    arbiter: Arbiter, provision: Provision, ledger: Ledger, app: Imported, standing: Standing
) -> told.ServiceStatus:
    """The service now."""
    fleet, config, now = arbiter.fleet, provision.config, clock.monotonic()
    listeners = [listener for listener in provision.listeners.values() if listener.is_open()]
    records = ledger.read()
    summary = summarise(records.values(), ledger.gone)
    state = arbiter.state().value
    ready = sum(worker.state is WorkerState.READY for worker in fleet.workers.values())
    min_ready = count_min_ready(config, fleet)
    is_parked = fleet.parked > 0
    return told.ServiceStatus(
        version=prefork.__version__,
        name=config.name,
        app=config.app,
        interface=app.interface or "",
        chdir=config.chdir,
        config_file=config.config_file,
        pid=processes.get_pid(),
        uid=os.geteuid(),
        python=".".join(map(str, sys.version_info[:3])),
        started_at=standing.started_at,
        uptime_s=now - standing.started,
        state=state,
        is_parked=is_parked,
        is_drained=standing.is_drained,
        is_ready=told.is_ready(state, ready, min_ready, is_parked=is_parked, is_drained=standing.is_drained),
        gen=fleet.base_gen,
        workers_wanted=fleet.target,
        workers_ready=ready,
        workers_why=_explain_count(config, fleet),
        min_ready=min_ready,
        balance=config.balance,
        addresses=tuple(listener.name() for listener in listeners),
        listeners=tuple(_report_listener(listener) for listener in listeners),
        slots=tuple(_report_slot(fleet, slot, now) for slot in fleet.slots.values()),
        workers=tuple(
            _report_worker(worker, records.get(worker.row, Record()), now)
            for worker in fleet.workers.values()
        ),
        rollout=_report_rollout(fleet, now),
        reloads=fleet.history.reloads,
        rollbacks=fleet.history.rollbacks,
        last_reload=fleet.history.last_reload,
        restarts={str(reason): count for reason, count in fleet.history.restarts.items()},
        totals=_report_totals(summary),
        p50_s=summary.p50_s,
        p90_s=summary.p90_s,
        p99_s=summary.p99_s,
        in_flight=summary.in_flight,
        connections=summary.connections,
        admin=tuple(listener.name() for what, listener in provision.name_admin() if what == "admin"),
        agent_check=tuple(
            listener.name() for what, listener in provision.name_admin() if what == "agent-check"
        ),
        log_files=tuple(told.LogStatus(kind=log.kind, path=log.path) for log in provision.logs()),
    )


def _explain_count(config: Config, fleet: Fleet) -> str:
    if fleet.target != config.workers:
        return f"scaled; configured are {config.workers}" if not fleet.parked else "parked"
    return config.workers_why


def _report_listener(listener: Listener) -> told.ListenerStatus:
    return told.ListenerStatus(address=listener.name(), backlog=count_waiting(listener.sock))


def _report_slot(fleet: Fleet, slot: Slot, now: float) -> told.SlotStatus:
    retry_at = fleet.find_retry(slot)
    state: told.SlotState
    if slot.failed:
        state = "failed"
    elif not slot.is_vacant():
        state = "filled"
    else:
        state = "vacant" if retry_at <= now else "backoff"
    return told.SlotStatus(
        index=slot.index,
        state=state,
        restarts=slot.restarts,
        last_reason=slot.last_reason,
        retry_in_s=retry_at - now if state == "backoff" else None,
    )


def _report_worker(worker: Worker, record: Record, now: float) -> told.WorkerStatus:
    tick = record.tick_ns / 1e9
    return told.WorkerStatus(
        serial=worker.serial,
        slot=worker.slot,
        gen=worker.gen,
        pid=worker.pid,
        state=worker.state.value,
        why=worker.why or worker.leaving or worker.retiring,
        uptime_s=now - worker.ready_at if worker.ready_at != NEVER else 0.0,
        age_s=now - worker.asked_at,
        # The app can write its row: a tick from the future is none.
        tick_age_s=max(0.0, now - tick) if tick else None,
        lag_s=record.lag_ns / 1e9,
        connections=record.connections + record.opening,
        in_flight=record.in_flight,
        requests=record.requests,
        accepted=record.accepted,
        statuses=record.statuses,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        busy_s=record.busy_ns / 1e9,
        shed=record.shed,
        latency=record.latency,
        p50_s=find_percentile(record.latency, 0.5),
        p99_s=find_percentile(record.latency, 0.99),
    )


def _report_rollout(fleet: Fleet, now: float) -> told.RolloutStatus | None:
    rollout = fleet.rollout
    if rollout is None:
        return None
    return told.RolloutStatus(
        gen=rollout.gen,
        moved=count_moved(fleet),
        of=fleet.target,
        stage=find_stage(fleet, rollout),
        started_s=now - rollout.began_at,
    )


def _report_totals(summary: Summary) -> told.TotalsStatus:
    totals = summary.totals
    return told.TotalsStatus(
        requests=totals.requests,
        accepted=totals.accepted,
        statuses=totals.statuses,
        bytes_in=totals.bytes_in,
        bytes_out=totals.bytes_out,
        busy_s=totals.busy_ns / 1e9,
        shed=totals.shed,
        latency=totals.latency,
    )
