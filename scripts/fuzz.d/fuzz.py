"""Fuzz the real program: choose the cases, run them many at a time, look after each server, say what was found."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from client import run_case
from corpus import CORPUS, Case, make_case, make_stages
from server import Server

INTERFACES = ("asgi", "wsgi", "wsgi-threads")
LOOPS = ("uvloop", "asyncio")
MOST_GROWTH_BYTES = 48 << 20
"""How much fatter a worker may get between its warm-up and the end."""
WARM_UP = 200
MOST_SHOWN = 10


def main() -> None:
    options = read_options()
    chosen = [(i, loop) for i in INTERFACES for loop in LOOPS]
    chosen = [
        (i, loop) for i, loop in chosen if options.interface in {i, "all"} and options.loop in {loop, "both"}
    ]
    cases = make_stages() if options.stages else []
    count = min(options.count, len(cases)) if cases else options.count
    findings = 0
    for at, (interface, loop) in enumerate(chosen):
        # Each server gets its share: every so many-th case.
        numbers = range(options.first + at, options.first + count, len(chosen))
        mine = [cases[n] if cases else make_case(options.seed, n) for n in numbers]
        if mine:
            findings += fuzz(interface, loop, mine, options)
    print(f"{count} cases, {findings} findings, seed {options.seed}")
    raise SystemExit(1 if findings else 0)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument(
        "--count", type=int, default=20_000, help="cases in all, over all servers (default: 20000)"
    )
    parser.add_argument("--seed", type=int, default=1, help="what the cases are made of (default: 1)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to bring one back")
    parser.add_argument(
        "--stages", action="store_true", help="instead: end each request after each of its bytes"
    )
    parser.add_argument("--interface", choices=(*INTERFACES, "all"), default="all")
    parser.add_argument("--loop", choices=(*LOOPS, "both"), default="both")
    parser.add_argument("--at-once", type=int, default=100, help="connections open at a time (default: 100)")
    options = parser.parse_args()
    if options.count < 1 or options.at_once < 1:
        parser.error("--count and --at-once are at least 1")
    return options


def fuzz(interface: str, loop: str, cases: Sequence[Case], options: argparse.Namespace) -> int:
    """Run all of `cases` against one server; return how many findings there were."""
    with tempfile.TemporaryDirectory(prefix="prefork-fuzz-") as folder:
        server = Server(interface, loop, Path(folder))
        began = time.monotonic()
        try:
            asyncio.run(run_cases(cases[:WARM_UP], server, options))
            before = server.measure_memory()
            wrong = asyncio.run(run_cases(cases, server, options))
            damage = server.find_damage()
            grown = 0 if damage else server.measure_memory() - before
            if grown > MOST_GROWTH_BYTES:
                damage.append(f"a worker grew by {grown >> 20} MB")
            damage += asyncio.run(ask_cleanly(server.port))
        finally:
            stopped = server.stop()
        damage += stopped
        took = time.monotonic() - began
        print(
            f"{server.name}: {len(cases)} cases in {took:.0f} s, workers grew by {grown / (1 << 20):.1f} MB"
        )
        for case, what in wrong[:MOST_SHOWN]:
            again = (
                f"--interface {interface} --loop {loop} --seed {options.seed} --first {case.number} --count 1"
            )
            print(
                f"  case {case.number} ({case.way}): {what}\n    sent {case.data[:600]!r}\n    scripts/fuzz {again}"
            )
        for what in damage:
            print(f"  {what}")
        return len(wrong) + len(damage)


async def run_cases(
    cases: Sequence[Case], server: Server, options: argparse.Namespace
) -> list[tuple[Case, str]]:
    """The cases that went wrong, and how."""
    waiting = iter(cases)
    wrong: list[tuple[Case, str]] = []
    done = 0

    async def work() -> None:
        nonlocal done
        for case in waiting:
            try:
                what = await run_case(case, server.port)
            except (OSError, asyncio.TimeoutError) as error:
                what = f"could not connect: {error!r}"
            if what:
                wrong.append((case, what))
            done += 1
            if done % 1000 == 0:
                print(f"  {server.name}: {done} of {len(cases)}, {len(wrong)} findings", flush=True)

    await asyncio.gather(*(work() for _ in range(min(options.at_once, len(cases)))))
    return wrong


async def ask_cleanly(port: int) -> list[str]:
    """Does it still answer everybody?"""
    for _ in range(20):
        what = await run_case(Case(0, "whole", CORPUS[0], (CORPUS[0],)), port)
        if what:
            return [f"a clean request at the end: {what}"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(CORPUS[0])
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()
        if not answer.startswith(b"HTTP/1.1 200 "):
            return [f"a clean request at the end was answered {answer!r}"]
    return []


if __name__ == "__main__":
    main()
