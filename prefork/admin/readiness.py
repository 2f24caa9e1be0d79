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
