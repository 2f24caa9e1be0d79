"""What a case is: a question, the servers it is put to, and a function that measures one of them once."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from environments import Environment
from lab import Cores
from servers import Server

Figures = dict[str, list[float]]
"""Metric -> the values of one measurement; several measurements are simply joined."""


@dataclass(frozen=True)
class Conditions:
    environment: Environment
    cores: Cores
    seconds: float | None
    """How long a measurement takes, if the caller has an opinion."""
    reloads: int
    workers: int
    """Of HTTP cases. One has a core for itself; several share all cores with the load."""
    rate: float
    """Requests per second of the cases with a fixed rate."""


@dataclass(frozen=True)
class Case:
    name: str
    help: str
    metrics: dict[str, str]
    """Metric -> its title with unit, in the order of the table."""
    servers: dict[str, Server]
    measure: Callable[[Conditions, Server], Figures]
    rounds: int
    every_python: bool = False
    """Measured on the newest Python too, not only on the current one."""
    default_servers: tuple[str, ...] = ()
    """Measured unless others are asked for; empty: all."""
    needs: str = ""
    """The package that the app is made with."""


def summarise(values: list[float]) -> tuple[float, float, float]:
    """Median, least, most."""
    return statistics.median(values), min(values), max(values)
