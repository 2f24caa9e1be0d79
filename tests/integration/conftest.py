"""`start` runs the program for one test; its log is shown when the test fails, and nothing survives the test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.integration.running import Running

STARTED = pytest.StashKey[list[Running]]()
LOG_SHOWN_CHARS = 20_000


class Start(Protocol):
    """`start("app:attr", "--workers", "2")`: on a free port, waiting until it serves, unless told otherwise."""

    def __call__(
        self,
        *arguments: str,
        bind: str | None = "127.0.0.1:0",
        wait: bool = True,
        env: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        python_options: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
        terminal: bool = False,
        folder: Path | None = None,
    ) -> Running: ...


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    started: list[Running] = []
    request.node.stash[STARTED] = started

    def start_one(
        *arguments: str,
        bind: str | None = "127.0.0.1:0",
        wait: bool = True,
        env: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        python_options: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
        terminal: bool = False,
        folder: Path | None = None,
    ) -> Running:
        if bind is not None:
            arguments = (*arguments, "--bind", bind)
        running = Running(
            folder or tmp_path,
            arguments,
            env=env,
            prefix=prefix,
            python_options=python_options,
            pass_fds=pass_fds,
            terminal=terminal,
        )
        started.append(running)
        return running.wait_serving() if wait else running

    yield start_one
    leftovers = [title for running in started for title in running.clean_up()]
    assert leftovers == [], "processes outlived the program"


def read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else f"{path} is gone\n"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for running in item.stash.get(STARTED, []):
            title = f"log of pid {running.pid}, {running.log_path}"
            report.sections.append(
                (title, (read(running.output_path) + read(running.log_path))[-LOG_SHOWN_CHARS:])
            )
    return report
