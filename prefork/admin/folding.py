"""What processes that are gone have left of the app's metrics is put together, so that a scrape costs the same after a
thousand of them.

prometheus_client gives each process a file for each kind of metric, `counter_4211.db`, `gauge_max_4211.db`. Those of
the dead are added up in one, `counter_folded.db`, in its own format: an app that shows its metrics itself finds the
same. Of gauges the mode says what becomes of them; those that are told by process vanish with it, `all` too: a series
for each process that ever was would grow without end.

Nothing is counted twice or lost, whenever we are killed: a journal says which files are in the sum, and whether that is
so is told by the sum's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from prometheus_client.mmap_dict import MmapedDict

FOLDED = "folded"
SUMMED = frozenset({"counter", "histogram", "summary", "gauge_sum"})
PICKED = frozenset({"gauge_min", "gauge_max", "gauge_mostrecent"})

Values = dict[str, tuple[float, float]]
"""By key: value and time stamp."""


class ProcessFile(NamedTuple):
    """What one process keeps of one kind of metric."""

    path: Path
    kind: str
    """`counter`, `gauge_livesum` …"""
    pid: int


def list_files(directory: Path) -> Iterator[ProcessFile]:
    """Those of processes, in order."""
    for path in sorted(directory.glob("*.db")):
        kind, _, pid = path.stem.rpartition("_")
        if kind and pid.isdecimal():
            yield ProcessFile(path, kind, int(pid))


def fold(directory: Path, is_dead: Callable[[int], bool], has_nothing: Callable[[ProcessFile], bool]) -> None:
    """Put together what the dead have left, but for files that `has_nothing` worth it. Raises OSError."""
    recover(directory)
    dead: dict[str, list[ProcessFile]] = {}
    for file in list_files(directory):
        if is_dead(file.pid):
            dead.setdefault(file.kind, []).append(file)
    for kind, files in dead.items():
        if kind in SUMMED | PICKED:
            _fold_kind(directory, kind, [file for file in files if not has_nothing(file)])
        for file in files:
            file.path.unlink(missing_ok=True)


def recover(directory: Path) -> None:
    """Finish what a predecessor of ours was killed in."""
    for journal in directory.glob("*.journal"):
        fresh = journal.with_suffix(".new")
        if not fresh.exists():  # it has become the sum: what is named is in it
            with suppress(msgspec.DecodeError):
                for name in msgspec.json.decode(journal.read_bytes(), type=list[str]):
                    (directory / Path(name).name).unlink(missing_ok=True)
        journal.unlink(missing_ok=True)
        fresh.unlink(missing_ok=True)


def _fold_kind(directory: Path, kind: str, files: Iterable[ProcessFile]) -> None:
    folded, fresh = directory / f"{kind}_{FOLDED}.db", directory / f"{kind}.new"
    journal = directory / f"{kind}.journal"
    paths = [file.path for file in files]
    values = combine(kind, [read_values(path) for path in [folded, *paths]])
    fresh.unlink(missing_ok=True)
    with closing(MmapedDict(str(fresh))) as sums:
        for key, (value, stamp) in values.items():
            sums.write_value(key, value, stamp)
    partial = directory / f"{kind}.partial"
    partial.write_bytes(msgspec.json.encode([path.name for path in paths]))
    partial.replace(journal)
    fresh.replace(folded)  # from here on they are in the sum
    for path in paths:
        path.unlink(missing_ok=True)
    journal.unlink()


def combine(kind: str, parts: Iterable[Values]) -> Values:
    """Into one what several processes have."""
    combined: Values = {}
    for part in parts:
        for key, new in part.items():
            old = combined.get(key)
            combined[key] = new if old is None else _combine_two(kind, old, new)
    return combined


def _combine_two(kind: str, old: tuple[float, float], new: tuple[float, float]) -> tuple[float, float]:
    match kind:
        case "gauge_min":
            return min(old, new)
        case "gauge_max":
            return max(old, new)
        case "gauge_mostrecent":
            return old if old[1] > new[1] else new
        case _:
            return old[0] + new[0], 0.0


def read_values(path: Path) -> Values:
    """Empty if there is no such file, or what is there is none of these: its process may have been killed making it."""
    try:
        return {
            key: (value, stamp) for key, value, stamp, _ in MmapedDict.read_all_values_from_file(str(path))
        }
    except Exception:  # noqa: BLE001  # whatever the app's processes have written there
        return {}
