"""Who asks gets the format it prefers."""

from __future__ import annotations

import pytest

from prefork.admin.exposition import Family, Format, Sample, choose_format, render

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "classic"),
        ("*/*", "classic"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "classic"),
        ("text/plain;version=0.0.4", "classic"),
        ("application/openmetrics-text", "openmetrics"),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", "openmetrics"),
        (
            PROMETHEUS_2,
            "openmetrics",
        ),
        (
            PROMETHEUS_3,
            "openmetrics",
        ),
        ("Application/OpenMetrics-Text;Q=0.5, text/plain;q=0.6", "classic"),
        ("application/openmetrics-text;q=0", "classic"),
        ("application/openmetrics-text;q=nonsense", "classic"),
        (";;,,;q=", "classic"),
    ],
)
def test_the_format_is_the_one_that_is_preferred(accept: str, form: Format) -> None:
    assert choose_format(accept) == form


def test_nothing_that_is_told_can_forge_a_line() -> None:
    family = Family("a", "gauge", "b\nc\\", (Sample(1, (("label", 'x"} 1\nforged 2\\'),)),))
    assert render([family], "classic") == (
        '# HELP a b\\nc\\\\\n# TYPE a gauge\na{label="x\\"} 1\\nforged 2\\\\"} 1\n'
    )
