"""Alerts fire when they should, and no rule and no panel asks for a metric, a label or a reason that is not there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefork.admin.exposition import render
from prefork.admin.families import REASONS, list_families
from tests.admin.statuses import PROCESSES, STATUS

CONF = Path(__file__).parents[2] / "conf"
RULES = CONF / "prometheus/prefork.rules.yml"
DASHBOARD = CONF / "grafana/prefork.json"
PROMTOOL = shutil.which("promtool")
# As Prometheus gets them: `prefork_requests_total`, with its labels.
SERIES = re.findall(
    r"(?m)^(prefork_\w+)(?:\{(.*)\})? ", render(list_families(STATUS, PROCESSES), "openmetrics")
)
LABELS = {name: {"instance", *re.findall(r'(\w+)="', labels)} for name, labels in SERIES}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments", [["check", "rules", "prefork.rules.yml"], ["test", "rules", "prefork.rules.test.yml"]]
)
def test_prometheus_takes_the_alerts_and_they_fire_when_they_should(arguments: list[str]) -> None:
    found = subprocess.run(
        [str(PROMTOOL), *arguments], check=False, capture_output=True, text=True, timeout=30, cwd=RULES.parent
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_is_tried() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    tried = (CONF / "prometheus/prefork.rules.test.yml").read_text()
    assert len(alerts) >= 5
    assert [tried.count(alert) for alert in alerts] == [2] * len(alerts)


@pytest.mark.parametrize(
    "path", [RULES, CONF / "prometheus/prefork.rules.test.yml", DASHBOARD], ids=lambda path: path.name
)
def test_every_metric_that_is_asked_for_exists(path: Path) -> None:
    text = path.read_text().replace('\\"', '"')
    asked = set(re.findall(r"\bprefork_\w+", text)) - {"prefork_rules"}
    assert asked
    assert asked <= LABELS.keys()
    for name, labels in re.findall(r"(prefork_\w+)\{([^}]*)\}", text):
        assert set(re.findall(r"(\w+)=~?\"", labels)) <= LABELS[name], (name, labels)
    for reasons in re.findall(r'reason=~?"([^"]*)"', text):
        assert set(reasons.split("|")) <= set(REASONS)


def test_every_panel_groups_by_labels_that_are_there() -> None:
    expressions = list(find_expressions(json.loads(DASHBOARD.read_text())))
    assert len(expressions) >= 12
    for expression in expressions:
        names = re.findall(r"prefork_\w+", expression)
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            assert set(labels.split(", ")) <= set.union(*(LABELS[name] for name in names)), expression


def find_expressions(node: Any) -> Iterator[str]:
    """Every `expr`, however deep."""
    if isinstance(node, dict):
        if "expr" in node:
            yield node["expr"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from find_expressions(child)
