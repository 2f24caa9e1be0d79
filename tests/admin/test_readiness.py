"""Whoever is told to look elsewhere is told why."""

from __future__ import annotations

import msgspec
import pytest

from prefork.admin.readiness import explain_unready, tell_agent
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


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"is_ready": True, "workers_ready": 2}, "up ready 100%\n"),
        ({"is_ready": True, "workers_ready": 1}, "up ready 50%\n"),
        ({"is_ready": True, "workers_ready": 3}, "up ready 100%\n"),  # during a reload
        ({"is_ready": True, "workers_ready": 1, "workers_wanted": 1000}, "up ready 1%\n"),
        ({"state": "stopping"}, "drain\n"),
        ({"is_drained": True}, "drain\n"),
        ({"is_parked": True}, "drain\n"),
        ({"state": "starting", "workers_ready": 0}, "down #starting: 0 of 2 workers ready, 1 needed\n"),
    ],
)
def test_haproxy_is_told_in_its_words(changes: dict[str, object], line: str) -> None:
    assert tell_agent(msgspec.structs.replace(STATUS, **({"is_ready": False} | changes))) == line


def test_a_master_that_does_not_answer_is_down() -> None:
    assert tell_agent(None).startswith("down #")
