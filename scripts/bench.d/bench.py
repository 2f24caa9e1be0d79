"""Measure prefork beside its peers; see scripts/bench --help.

Rounds are interleaved (every server once, then again), so that what else happens on the machine hits all alike.
A server that cannot be measured is named with its error, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from cases import CASES, Case, Conditions, Figures, summarise
from environments import Environment, find_pythons, prepare
from lab import BenchError, choose_cores
from servers import Server


def main() -> int:
    options = parse_arguments()
    cores = choose_cores()
    print(f"machine  {describe_cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    if cores.server == cores.load:
        print("note     one core only: the load shares it with the server")
    if shutil.which("wrk") is None:
        print("note     wrk is not installed (Debian: apt-get install wrk): cases under load will fail")
    pythons = options.python or find_pythons()
    results: list[dict[str, object]] = []
    failures: list[str] = []
    for number, python in enumerate(pythons):
        wanted = [
            CASES[name] for name in options.cases if number == 0 or options.python or CASES[name].every_python
        ]
        if not wanted:
            continue
        environment = prepare(python, fresh=options.fresh)
        versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
        print(f"\nPython {environment.python}: {versions}", flush=True)
        for case in wanted:
            conditions = Conditions(environment, cores, options.seconds, options.reloads)
            servers = choose_servers(case, options.servers)
            figures = measure(case, conditions, servers, options.rounds or case.rounds, failures)
            print_table(case, figures)
            results += list_results(case, environment, figures)
    for failure in failures:
        print(f"failed   {failure}")
    if options.json:
        report = {
            "machine": platform.uname()._asdict(),
            "cpu": describe_cpu(),
            "results": results,
            "failures": failures,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failures else 0


def parse_arguments() -> argparse.Namespace:
    listed = "\n".join(f"  {case.name:15} {case.help}" for case in CASES.values())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure prefork beside its peers, in one run, in interleaved rounds.",
        epilog=f"cases:\n{listed}\n\nWithout CASE: all. Medians are printed, with (least–most) and how many "
        "times prefork's (×, compared round by round) behind.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to measure")
    parser.add_argument("--wsgi", action="store_true", help="plaintext and reload over WSGI")
    parser.add_argument(
        "--python",
        action="append",
        metavar="PATH",
        help="an interpreter to measure on; may be repeated (default: the current one, plaintext also on the newest)",
    )
    parser.add_argument("--servers", metavar="A,B", type=lambda text: text.split(","), help="only these")
    parser.add_argument("--rounds", type=int, metavar="N", help="measurements per server")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of one measurement")
    parser.add_argument("--reloads", type=int, metavar="N", default=10, help="in each measurement of reload")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there too")
    parser.add_argument("--fresh", action="store_true", help="make the environments under .bench/ anew")
    options = parser.parse_args()
    options.cases = [
        f"{name}-wsgi" if options.wsgi and f"{name}-wsgi" in CASES else name for name in options.cases
    ]
    if unknown := [name for name in options.cases if name not in CASES]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    options.cases = options.cases or list(CASES)
    return options


def choose_servers(case: Case, wanted: list[str] | None) -> list[Server]:
    names = wanted or case.default_servers or tuple(case.servers)
    return [server for name, server in case.servers.items() if name in names]


def measure(
    case: Case, conditions: Conditions, servers: list[Server], rounds: int, failures: list[str]
) -> dict[str, Figures]:
    """Server -> its figures over all rounds; one that fails is left out of the following rounds."""
    figures: dict[str, Figures] = {}
    failed: set[str] = set()
    for number in range(rounds):
        for server in servers:
            if server.name in failed:
                continue
            show_progress(f"{case.name} {number + 1}/{rounds} {server.name}")
            try:
                measured = case.measure(conditions, server)
            except (BenchError, OSError) as error:
                failed.add(server.name)
                failures.append(
                    f"{case.name}, Python {conditions.environment.python}, {server.name}: {error}"
                )
                continue
            for metric, values in measured.items():
                figures.setdefault(server.name, {}).setdefault(metric, []).extend(values)
    show_progress("")
    return figures


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


def show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def describe_cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
