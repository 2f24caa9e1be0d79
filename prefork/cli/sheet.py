"""One service on a page: what `status` shows, and the fuller one of `describe`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prefork.cli.tables import lay_out, show_latency, show_rate, show_size, show_span
from prefork.control.client import Service
from prefork.control.status import ServiceStatus, SlotStatus, WorkerStatus, show_state
from prefork.system.usage import Reading, add_up

HEAD = ("WORKER", "PID", "STATE", "GEN", "UP", "REQUESTS", "NOW", "CONNS", "CPU", "MEM", "NOTE")
RIGHT = frozenset(HEAD) - {"STATE", "NOTE"}
BEAT_LATE_S = 2.0
"""A loop beats every half second: four beats missed are worth a note."""


def write_sheet(
    service: Service, costs: Mapping[int, Reading], before: ServiceStatus | None = None
) -> Iterator[str]:
    """A few lines and the workers. Rates are those since `before`, or the average since the start."""
    status, total = service.status, add_up(costs.values())
    yield f"{status.name}  {show_state(status)}{_show_rollout(status)}"
    yield f"  app       {_show_app(status)}"
    yield f"  address   {', '.join(status.addresses)}"
    yield f"  workers   {status.workers_ready} of {status.workers_wanted} ready, generation {status.gen}"
    yield f"  master    pid {status.pid}, up {show_span(status.uptime_s)}"
    yield (
        f"  requests  {status.totals.requests} ({show_rate(_find_rate(status, before))}/s), {status.in_flight} now"
        f", p50 {show_latency(status.p50_s)}, p99 {show_latency(status.p99_s)}"
    )
    yield f"  memory    {show_size(total.pss_bytes)}"
    yield f"  restarts  {_show_restarts(status)}"
    if status.last_reload not in ("", "ok"):
        yield f"  reload    the last one failed: {status.last_reload}"
    yield ""
    yield from lay_out(HEAD, list(list_rows(status, costs)), right=RIGHT)


def write_details(service: Service) -> Iterator[str]:
    """Everything that the sheet has no room for."""
    status, totals = service.status, service.status.totals
    drained = " (out of rotation)" if status.is_drained else ""
    yield f"  readyz    {'yes' if status.is_ready else 'no'}: {status.min_ready} ready worker is enough{drained}"
    yield f"  count     {status.workers_wanted} workers wanted{': ' + status.workers_why if status.workers_why else ''}"
    yield f"  balance   {status.balance}"
    yield f"  config    {status.config_file or 'no file: flags, variables and defaults'}"
    yield f"  directory {status.chdir}"
    yield f"  prefork   {status.version} on Python {status.python}, uid {status.uid}"
    yield f"  control   {service.path}"
    for log in status.log_files:
        yield f"  {log.kind:<9} {log.path}"
    for address in status.admin:
        yield f"  admin     {address}"
    for address in status.agent_check:
        yield f"  agent     {address} (HAProxy's agent-check)"
    for listener in status.listeners:
        waiting = "" if listener.backlog is None else f", {listener.backlog} waiting to be accepted"
        yield f"  listener  {listener.address}{waiting}"
    classes = ", ".join(f"{at}xx {count}" for at, count in enumerate(totals.statuses, 1) if count)
    yield f"  responses {classes or 'none yet'}"
    yield f"  traffic   {show_size(totals.bytes_in)} in, {show_size(totals.bytes_out)} out"
    yield f"  accepted  {totals.accepted} connections, {status.connections} open now"
    yield f"  latency   p90 {show_latency(status.p90_s)}"
    last = f", the last one: {status.last_reload}" if status.last_reload else ""
    yield f"  reloads   {status.reloads} done, {status.rollbacks} failed{last}"


def list_rows(status: ServiceStatus, costs: Mapping[int, Reading]) -> Iterator[tuple[str, ...]]:
    """The workers, by slot; and the slots that have none."""
    filled = {worker.slot for worker in status.workers}
    for worker in sorted(status.workers, key=lambda each: (each.slot, each.serial)):
        yield _make_row(worker, costs.get(worker.pid, Reading()))
    for slot in status.slots:
        if slot.index not in filled:
            yield (str(slot.index), "-", slot.state, *("-",) * 7, _note_slot(slot))


def _make_row(worker: WorkerStatus, cost: Reading) -> tuple[str, ...]:
    return (
        str(worker.slot),
        str(worker.pid or "-"),
        worker.state,
        str(worker.gen),
        show_span(worker.uptime_s or worker.age_s),
        str(worker.requests),
        str(worker.in_flight),
        str(worker.connections),
        f"{100 * cost.cpu_s / max(worker.age_s, 1.0):.0f}%",
        show_size(cost.pss_bytes),
        _note_worker(worker),
    )


def _note_worker(worker: WorkerStatus) -> str:
    is_late = worker.state == "ready" and worker.tick_age_s is not None and worker.tick_age_s > BEAT_LATE_S
    return f"no beat for {worker.tick_age_s:.0f}s" if is_late else worker.why


def _note_slot(slot: SlotStatus) -> str:
    again = "" if slot.retry_in_s is None else f"again in {slot.retry_in_s:.1f}s: "
    return f"{again}{slot.last_reason}"


def _show_rollout(status: ServiceStatus) -> str:
    rollout = status.rollout
    return (
        ""
        if rollout is None
        else f" (generation {rollout.gen}: {rollout.moved}/{rollout.of}, {rollout.stage})"
    )


def _show_app(status: ServiceStatus) -> str:
    return f"{status.app} ({status.interface})" if status.interface else status.app


def _show_restarts(status: ServiceStatus) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(status.restarts.items()))
    total = sum(status.restarts.values())
    return f"{total} ({reasons})" if total else "0"


def _find_rate(status: ServiceStatus, before: ServiceStatus | None) -> float:
    if before is None or status.uptime_s <= before.uptime_s:
        return status.totals.requests / max(status.uptime_s, 1.0)
    return (status.totals.requests - before.totals.requests) / (status.uptime_s - before.uptime_s)
