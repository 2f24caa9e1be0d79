"""Measure prefork beside its peers; see scripts/bench --help.

Rounds are interleaved (every server once, then again), so that what else happens on the machine hits all alike.
A server that cannot be measured is named with its error, and the exit code is 1; one that cannot be installed is noted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from case import Case, Conditions, Figures
from cases import CASES, GROUPS, find_cases
from environments import Environment, find_pythons, prepare
from errors import BenchError
from lab import Cores, choose_cores
from report import describe_cpu, list_results, print_table
from servers import Server

BUSY_LOAD = 0.7
"""A load average before the run that a resting machine does not have."""

EPILOG = """\
cases:
{cases}

or a group of them: {groups}. Without CASE: all.

Every table has the median over the rounds with (least–most), and how many times prefork's it is (×, compared round
by round). HTTP cases have one worker pinned to one core, 64 keep-alive connections from wrk pinned to another, and one
answer of each server is checked byte for byte before. CPU µs/request is the figure to trust: it counts the kernel's
part, and other work on the machine moves it less than the rate. `bare-uvloop` (a Protocol with a canned answer) and
`nginx` (return 200) are no peers but ceilings: the one reads no request, and neither runs an app.

  scripts/bench http                               all of HTTP, on this Python and the newest: two hours
  scripts/bench plaintext json --servers prefork,uvicorn,bare-uvloop --rounds 5
  scripts/bench http --rounds 1 --seconds 1        does everything work? the figures mean nothing
  scripts/bench latency --rate 5000                p50 and p99 with 5,000 requests a second for everybody
  scripts/bench plaintext --wsgi --python ~/.pyenv/versions/3.12.1/bin/python --json figures.json
"""


def main() -> int:
    options = parse_arguments()
    cores = choose_cores()
    load_before = os.getloadavg()[0]
    print_header(options, cores)
    results: list[dict[str, object]] = []
    versions: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    failures: list[str] = []
    for number, python in enumerate(options.python or find_pythons()):
        wanted = [case for case in options.cases if number == 0 or options.python or case.every_python]
        if not wanted:
            continue
        environment = prepare(python, fresh=options.fresh)
        versions[environment.python] = environment.versions
        shown = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
        print(f"\nPython {environment.python}: {shown}")
        for note in environment.notes:
            print(f"note     {note}", flush=True)
        notes += [f"Python {environment.python}: {note}" for note in environment.notes]
        conditions = Conditions(
            environment, cores, options.seconds, options.reloads, options.workers, options.rate
        )
        for case in wanted:
            if case.needs and case.needs not in environment.versions:
                continue  # there is a note
            servers = choose_servers(case, options.servers, environment)
            figures = measure(case, conditions, servers, options.rounds or case.rounds, failures)
            print_table(case, figures)
            results += list_results(case, environment, figures)
    for failure in failures:
        print(f"failed   {failure}")
    if options.json:
        report = {
            "machine": platform.uname()._asdict(),
            "cpu": describe_cpu(),
            "cores": sorted(os.sched_getaffinity(0)),
            "load_average_before": load_before,
            "options": {name: getattr(options, name) for name in ("workers", "rate", "seconds", "rounds")},
            "versions": versions,
            "notes": notes,
            "results": results,
            "failures": failures,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failures else 0


def print_header(options: argparse.Namespace, cores: Cores) -> None:
    print(f"machine  {describe_cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    if options.workers > 1:
        print(f"note     HTTP cases: {options.workers} workers, not pinned; the load runs on the same cores")
    elif cores.server == cores.load:
        print("note     one core only: the load shares it with the server")
    if any("p99_us" in case.metrics for case in options.cases):
        print(f"note     latency cases: {options.rate:,.0f} requests/s for every server")
    if (busy := os.getloadavg()[0]) > BUSY_LOAD:
        print(f"note     the machine has other work (load average {busy:.1f}): the figures will mean little")
    if shutil.which("wrk") is None:
        print("note     wrk is not installed (Debian: apt-get install wrk): cases under load will fail")


def parse_arguments() -> argparse.Namespace:
    listed = "\n".join(f"  {case.name:15} {case.help}" for case in CASES.values())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure prefork beside its peers, in one run, in interleaved rounds.",
        epilog=EPILOG.format(cases=listed, groups=", ".join(GROUPS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to measure: cases, groups of them")
    parser.add_argument(
        "--wsgi", action="store_true", help="of the named cases those over WSGI, where there are"
    )
    parser.add_argument(
        "--python",
        action="append",
        metavar="PATH",
        help="an interpreter to measure on; may be repeated (default: the current one, HTTP cases also on the newest)",
    )
    known = list(dict.fromkeys(name for case in CASES.values() for name in case.servers))
    parser.add_argument(
        "--servers",
        metavar="A,B",
        type=lambda text: text.split(","),
        help=f"only these of {', '.join(known)}",
    )
    parser.add_argument("--rounds", type=read_count, metavar="N", help="measurements per server")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="length of one measurement; at least 1 under load"
    )
    parser.add_argument(
        "--workers",
        type=read_count,
        metavar="N",
        default=1,
        help="in HTTP cases (default: 1, on a core of its own); more are not pinned and share the cores with the load",
    )
    parser.add_argument(
        "--rate",
        type=float,
        metavar="N",
        default=4000.0,
        help="requests per second in latency cases (default: 4000); about half of what the slowest fast server can do",
    )
    parser.add_argument(
        "--reloads", type=read_count, metavar="N", default=10, help="in each measurement of reload"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every value there too, and what it was measured on"
    )
    parser.add_argument("--fresh", action="store_true", help="make the environments under .bench/ anew")
    options = parser.parse_args()
    try:
        options.cases = find_cases(options.cases, wsgi=options.wsgi)
    except KeyError as error:
        parser.error(f"no case {error.args[0]!r}; there are {', '.join([*GROUPS, *CASES])}")
    if unknown := [name for name in options.servers or [] if name not in known]:
        parser.error(f"no server {unknown[0]!r}; there are {', '.join(known)}")
    if options.rate <= 0 or (options.seconds is not None and options.seconds <= 0):
        parser.error("--rate and --seconds must be more than 0")
    return options


def read_count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return count


def choose_servers(case: Case, wanted: list[str] | None, environment: Environment) -> list[Server]:
    """Those asked for, else the case's own; of them those that are installed."""
    names = wanted or case.default_servers or tuple(case.servers)
    return [
        server
        for name, server in case.servers.items()
        if name in names and server.package in environment.versions
    ]


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


def show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:  # of an interpreter or an installation: a server's are in the report
        sys.exit(f"scripts/bench: {error}")
