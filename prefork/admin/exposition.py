"""Families of samples → text, in Prometheus's classic format and in OpenMetrics.

Pure. See https://prometheus.io/docs/specs/om/open_metrics_spec/ and
https://prometheus.io/docs/instrumenting/exposition_formats/. The two differ in what a counter's family is called, in
what an info is, and in the end of file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram", "info"]
Format = Literal["classic", "openmetrics"]

CONTENT_TYPES: dict[Format, str] = {
    "classic": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
END = "# EOF\n"
SUFFIXES: dict[Kind, str] = {"counter": "_total", "gauge": "", "histogram": "_bucket", "info": "_info"}
"""What a sample's name has more than its family's."""


class Sample(NamedTuple):
    """One number, and which of its family it is."""

    value: float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""
    """What its name has more than its family's, if not what is usual for that kind: `_sum` of a histogram."""


class Family(NamedTuple):
    """Numbers of one name. The name has no suffix: `prefork_requests` is shown as `prefork_requests_total`."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]

    def sample_name(self) -> str:
        """What its samples are called, and what people look for."""
        return self.name + SUFFIXES[self.kind]


def render(families: Iterable[Family], form: Format) -> str:
    """The text, without the end of file that OpenMetrics wants: more may follow."""
    return "".join(_render_family(family, form) for family in families if family.samples)


def choose_format(accept: str) -> Format:
    """What a scraper that sent this Accept field prefers."""
    wants: dict[str, float] = {}
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        quality = next((_read_quality(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        wants[kind] = max(quality, wants.get(kind, 0.0))
    openmetrics = wants.get("application/openmetrics-text", 0.0)
    return "openmetrics" if openmetrics > 0 and openmetrics >= wants.get("text/plain", 0.0) else "classic"


def _read_quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _render_family(family: Family, form: Format) -> str:
    name, kind = family.name, family.kind
    sample_name = family.sample_name()
    if form == "classic":  # there, a family is called what its samples are called
        name = name if kind == "histogram" else sample_name
        kind = "gauge" if kind == "info" else kind
    text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {name} {text}\n# TYPE {name} {kind}\n"]
    for sample in family.samples:
        name = family.name + sample.suffix if sample.suffix else sample_name
        lines.append(f"{name}{_render_labels(sample.labels)} {_render_value(sample.value)}\n")
    return "".join(lines)


def _render_labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _render_value(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
