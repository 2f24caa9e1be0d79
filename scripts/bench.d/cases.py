"""All that can be measured, and the words for it on the command line."""

from __future__ import annotations

import accepting
import handing
import latency
import proxied
import reloading
import respawn
import resting
import scraping
import sharing
import spreading
import throughput
from case import Case

GROUPS = {
    "http": (*throughput.CASES, *latency.CASES),
    "accept": (*accepting.CASES, *handing.CASES),
    "life": (
        *resting.CASES,
        *scraping.CASES,
        *sharing.CASES,
        *respawn.CASES,
        *reloading.CASES,
        *proxied.CASES,
    ),
    "spread": spreading.CASES,
}
"""Word -> the cases it stands for."""

CASES: dict[str, Case] = {case.name: case for cases in GROUPS.values() for case in cases}


def find_cases(words: list[str], *, wsgi: bool) -> list[Case]:
    """The cases that words stand for, each once; with `wsgi` the one over WSGI where there is one.

    Raises `KeyError` with the first word that stands for nothing.
    """
    names: list[str] = []
    for word in words:
        names += [case.name for case in GROUPS[word]] if word in GROUPS else [CASES[word].name]
    if wsgi:
        names = [f"{name}-wsgi" if f"{name}-wsgi" in CASES else name for name in names]
    return [CASES[name] for name in dict.fromkeys(names or CASES)]
