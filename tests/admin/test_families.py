"""prefork's own metrics: their names and labels are a promise, and what they say is what the status says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from prefork.admin.exposition import END, render
from prefork.admin.families import list_families
from prefork.core.figures import BUCKETS, bucket_start_ns
from tests.admin.statuses import LATENCY, PROCESSES, STATUS

PAGE = Path(__file__).parent.parent.parent / "docs/deploying.md"
PROMTOOL = shutil.which("promtool")
FAMILIES = list_families(STATUS, PROCESSES)
CLASSIC = render(FAMILIES, "classic")
OPENMETRICS = render(FAMILIES, "openmetrics") + END

NAMES = {
    "prefork_build_info": "version python interface",
    "prefork_start_time_seconds": "",
    "prefork_uptime_seconds": "",
    "prefork_ready": "",
    "prefork_state": "state",
    "prefork_generation": "",
    "prefork_reloads_total": "",
    "prefork_rollbacks_total": "",
    "prefork_listener_backlog": "address",
    "prefork_workers_wanted": "",
    "prefork_workers": "state",
    "prefork_slots": "state",
    "prefork_restarts_total": "reason",
    "prefork_loop_lag_seconds": "",
    "prefork_busy_seconds_total": "",
    "prefork_requests_total": "code",
    "prefork_requests_in_flight": "",
    "prefork_request_duration_seconds_bucket": "le",
    "prefork_connections": "",
    "prefork_connections_accepted_total": "",
    "prefork_connections_shed_total": "",
    "prefork_received_bytes_total": "",
    "prefork_sent_bytes_total": "",
    "prefork_processes": "role",
    "prefork_resident_memory_bytes": "role",
    "prefork_pss_memory_bytes": "role",
    "prefork_cpu_seconds_total": "",
}
"""What people's dashboards and alerts are made of: a name that goes, or changes its labels, breaks them."""


def read_samples(families: Iterable[Metric]) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_names_and_labels_stay() -> None:
    found = {
        family.sample_name(): " ".join(label for label, _ in family.samples[0].labels) for family in FAMILIES
    }
    assert found == NAMES


def test_the_readme_lists_all_of_them() -> None:
    listed = set(re.findall(r"`(prefork_[a-z_]+)(?:\{[a-z,]+\})?`", PAGE.read_text()))
    assert {name.removesuffix("_bucket") for name in NAMES} == listed


@pytest.mark.parametrize("samples", [parse_classic(CLASSIC), parse_openmetrics(OPENMETRICS)])
def test_both_formats_say_what_the_status_says(samples: Iterable[Metric]) -> None:
    found = read_samples(samples)
    told = {
        "prefork_build_info{0.1.0}{3.11.7}{asgi}": 1,
        "prefork_start_time_seconds": 1_700_000_000.5,
        "prefork_ready": 1,
        "prefork_state{serving}": 1,
        "prefork_state{stopping}": 0,
        "prefork_reloads_total": 2,
        "prefork_rollbacks_total": 1,
        "prefork_listener_backlog{127.0.0.1:8000}": 7,
        'prefork_listener_backlog{unix:/run/"\\\n.sock}': 0,
        "prefork_workers{ready}": 1,
        "prefork_workers{draining}": 1,
        "prefork_workers{booting}": 0,
        "prefork_slots{filled}": 1,
        "prefork_slots{backoff}": 1,
        "prefork_restarts_total{crash}": 4,
        "prefork_restarts_total{hung}": 0,
        "prefork_loop_lag_seconds": 0.25,
        "prefork_busy_seconds_total": 1.5,
        "prefork_requests_total{1xx}": 1,
        "prefork_requests_total{2xx}": 1000,
        "prefork_requests_total{5xx}": 10,
        "prefork_requests_in_flight": 5,
        "prefork_connections": 8,
        "prefork_connections_accepted_total": 55,
        "prefork_connections_shed_total": 6,
        "prefork_received_bytes_total": 2**60,
        "prefork_sent_bytes_total": 77,
        "prefork_processes{worker}": 2,
        "prefork_processes{spare}": 0,
        "prefork_resident_memory_bytes{worker}": 6000,
        "prefork_pss_memory_bytes{worker}": 800,
        "prefork_cpu_seconds_total": 4.25,
    }
    assert {key: found.get(key) for key in told} == told
    assert "prefork_listener_backlog{unix:/run/shop.sock}" not in found, "nobody knows it"


def test_buckets_hold_exactly_what_was_counted_below_their_ends() -> None:
    found = read_samples(parse_openmetrics(OPENMETRICS))
    ends = {
        float(match[1]): value
        for key, value in found.items()
        if (match := re.fullmatch(r"prefork_request_duration_seconds_bucket\{(.*)\}", key))
    }
    assert ends.pop(float("inf")) == sum(LATENCY)
    assert (len(ends), min(ends), max(ends)) == (19, 2**17 / 1e9, 2**35 / 1e9)
    for end_s, value in ends.items():
        assert value == sum(
            LATENCY[at] for at in range(BUCKETS) if bucket_start_ns(at + 1) <= end_s * 1e9 + 0.5
        )


def test_a_histogram_has_the_sum_that_its_buckets_suggest() -> None:
    one = msgspec.structs.replace(STATUS.totals, latency=(0,) * 20 + (4,) + (0,) * 11)
    text = render(list_families(msgspec.structs.replace(STATUS, totals=one), PROCESSES), "openmetrics") + END
    found = read_samples(parse_openmetrics(text))
    assert found["prefork_request_duration_seconds_count"] == 4
    assert found["prefork_request_duration_seconds_sum"] == pytest.approx(4 * 1.5 * 2**29 / 1e9)


def test_memory_that_the_kernel_does_not_tell_is_left_out() -> None:
    unknown = PROCESSES._replace(list=tuple(each._replace(pss_bytes=None) for each in PROCESSES.list))
    assert "prefork_pss_memory_bytes" not in render(list_families(STATUS, unknown), "classic")


def test_a_service_without_workers_has_all_its_counters() -> None:
    bare = msgspec.structs.replace(STATUS, workers=(), slots=(), restarts={}, listeners=())
    found = {family.sample_name() for family in list_families(bare, PROCESSES) if family.samples}
    assert found == set(NAMES) - {"prefork_listener_backlog"}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_own_check_has_nothing_to_say() -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=CLASSIC, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
