"""What a run has measured, for people: a table per case. For programs: every value, with what it was measured on."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from case import Case, Figures, summarise
from environments import Environment


def print_table(case: Case, figures: dict[str, Figures]) -> None:
    """One row per server; behind each median its spread and how many times ours it is."""
    ours = figures.get("prefork", {})
    rows = [[case.name, *case.metrics.values()]]
    for name, measured in figures.items():
        rows.append([name, *(describe(measured.get(metric), ours.get(metric)) for metric in case.metrics)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    sys.stdout.flush()


def describe(values: list[float] | None, ours: list[float] | None) -> str:
    if not values:
        return "-"
    median, least, most = summarise(values)
    text = show(median) if least == most else f"{show(median)} ({show(least)}–{show(most)})"
    if ours and min(ours) > 0:
        text += f" ×{compare(values, ours):.2f}"
    return text


def compare(values: list[float], ours: list[float]) -> float:
    """How many times ours: round by round if both have as many, for neighbours in time had the same machine."""
    if len(values) == len(ours):
        return summarise([theirs / own for theirs, own in zip(values, ours, strict=True)])[0]
    return summarise(values)[0] / summarise(ours)[0]


def show(value: float) -> str:
    if value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def list_results(
    case: Case, environment: Environment, figures: dict[str, Figures]
) -> list[dict[str, object]]:
    return [
        {
            "case": case.name,
            "python": environment.python,
            "server": name,
            "version": environment.versions.get(case.servers[name].package, ""),
            "metric": metric,
            "unit": case.metrics[metric],
            "values": values,
            "median": summarise(values)[0],
        }
        for name, measured in figures.items()
        for metric, values in measured.items()
    ]


def describe_cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
