"""Why should load balancers look elsewhere? One line for people. Pure."""

from __future__ import annotations

from prefork.control.status import ServiceStatus


def explain_unready(status: ServiceStatus) -> str:
    """Empty if the service is ready for traffic."""
    if status.is_ready:
        return ""
    if status.state == "stopping":
        return "stopping"
    if status.is_parked:
        return "parked: every worker was drained"
    if status.is_drained:
        return "drained by an operator"
    return f"{status.state}: {status.workers_ready} of {status.workers_wanted} workers ready, {status.min_ready} needed"


def tell_agent(status: ServiceStatus | None) -> str:
    """The same for HAProxy's agent-check, in its words: whether it shall send clients, and what share of its weight.

    `drain` keeps whoever is there and lets nobody new in; `ready` takes that back. See agent-check in HAProxy's manual.
    """
    if status is None:
        return "down #the master does not answer\n"
    why = explain_unready(status)
    if why and (status.state == "stopping" or status.is_parked or status.is_drained):
        return "drain\n"
    if why:
        return f"down #{why}\n"
    share = round(100 * status.workers_ready / max(1, status.workers_wanted))
    return f"up ready {min(100, max(1, share))}%\n"
