"""Whoever is told to look elsewhere is told why."""

from __future__ import annotations

import msgspec
import pytest

from prefork.admin.readiness import explain_unready
from tests.admin.statuses import STATUS


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"is_ready": True}, ""),
        ({"state": "stopping", "is_parked": True}, "stopping"),
        ({"is_parked": True}, "parked: every worker was drained"),
        ({"is_drained": True}, "drained by an operator"),
        ({"state": "starting", "workers_ready": 0}, "starting: 0 of 2 workers ready, 1 needed"),
        ({"state": "degraded", "min_ready": 2}, "degraded: 1 of 2 workers ready, 2 needed"),
    ],
)
def test_each_reason_has_its_line(changes: dict[str, object], why: str) -> None:
    status = msgspec.structs.replace(STATUS, **({"is_ready": False} | changes))
    assert explain_unready(status) == why
