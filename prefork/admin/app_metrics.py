"""The app's own metrics, those of all its processes merged: what prometheus_client has them keep in files, by its own
rules.

It is imported when there is such a file, and never before. Without it, or when something else goes wrong, the app's
metrics are left out: prefork's are shown all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prefork.admin.exposition import END, Format
from prefork.admin.tree import Process
from prefork.system import processes

if TYPE_CHECKING:
    from prometheus_client import Metric

    from prefork.admin.folding import ProcessFile


class AppMetrics:
    """One thread's at a time."""

    def __init__(
        self,
        directory: str,
        *,
        is_ours: bool,
        is_gone: Callable[[int], bool] = lambda pid: processes.is_gone(pid, None),
    ) -> None:
        self.trouble = ""
        """Why they were left out the last time; empty if they were not."""
        self._directory = Path(directory) if directory else None
        self._is_ours = is_ours
        self._is_gone = is_gone
        self._importers: set[int] = set()
        """Processes that only import the app."""
        self._known: set[int] = set()
        """Processes of the service that there were."""

    def note(self, living: Iterable[Process]) -> None:
        """These are there now."""
        for process in living:
            if process.role == "zygote":
                self._importers.add(process.pid)
            if process.role in ("zygote", "worker"):
                self._known.add(process.pid)
                if process.role == "worker":
                    self._importers.discard(process.pid)

    def render(self, form: Format, taken: Iterable[str]) -> str:
        """Their text, without an end of file; families of names that are `taken` are left out."""
        self.trouble = ""
        if self._directory is None or not any(self._directory.glob("*.db")):
            return ""
        try:
            self._fold(self._directory)
            shown = [
                metric for metric in self._merge(self._directory) if not _is_taken(metric.name, set(taken))
            ]
            return _render(shown, form)
        except ImportError as error:
            self.trouble = f"{error}: pip install 'prefork[metrics]'"
        except Exception as error:  # noqa: BLE001  # whatever the app's processes have written there
            self.trouble = f"{type(error).__name__}: {error}"
        return ""

    def fold(self) -> None:
        """Put together what the dead have left, though nobody asks."""
        try:
            if self._directory is not None and any(self._directory.glob("*.db")):
                self._fold(self._directory)
        except Exception as error:  # noqa: BLE001  # as above
            self.trouble = f"{type(error).__name__}: {error}"

    def _fold(self, directory: Path) -> None:
        from prefork.admin.folding import fold  # noqa: PLC0415  # imports prometheus_client

        fold(directory, self._is_dead, self._has_nothing)

    def _is_dead(self, pid: int) -> bool:
        # In a directory of the user's, others may have files, and not even their pids need mean anything here.
        return (self._is_ours or pid in self._known) and self._is_gone(pid)

    def _has_nothing(self, file: ProcessFile) -> bool:
        """Only importing the app has made all of its gauges, and has set none: 0 would be the least of all values."""
        from prefork.admin.folding import read_values  # noqa: PLC0415  # as above

        return (
            file.pid in self._importers
            and file.kind.startswith("gauge_")
            and not any(value for value, _ in read_values(file.path).values())
        )

    def _merge(self, directory: Path) -> list[Metric]:
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415  # as above

        from prefork.admin.folding import list_files  # noqa: PLC0415  # as above

        hidden = {file.path for file in list_files(directory) if self._has_nothing(file)}
        paths = [path for path in sorted(directory.glob("*.db")) if path not in hidden]
        try:
            merged = MultiProcessCollector.merge([str(path) for path in paths])
        except Exception:  # noqa: BLE001  # one is being made, or is none of these: without those then
            merged = MultiProcessCollector.merge([str(path) for path in _find_readable(paths)])
        return sorted(merged, key=lambda metric: metric.name)


def _find_readable(paths: Iterable[Path]) -> Iterator[Path]:
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415  # as above

    for path in paths:
        try:
            MultiProcessCollector.merge([str(path)])
        except Exception:  # noqa: BLE001, S112  # as above
            continue
        yield path


def _is_taken(name: str, taken: set[str]) -> bool:
    return any(name.removesuffix(suffix) in taken for suffix in ("", "_total", "_info", "_bucket"))


class _Collected:
    """What the renderers want to be given."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _render(metrics: list[Metric], form: Format) -> str:
    if form == "classic":
        from prometheus_client.exposition import generate_latest  # noqa: PLC0415  # as above

        return generate_latest(_Collected(metrics)).decode()
    from prometheus_client.openmetrics import exposition  # noqa: PLC0415  # as above

    text: str = exposition.generate_latest(_Collected(metrics)).decode()
    return text.removesuffix(END)
