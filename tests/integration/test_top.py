"""`prefork top`, as somebody sees it who sits before it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.integration.conftest import Start
from tests.integration.load import Load
from tests.integration.running import Running, clean_environment, wait_until
from tests.integration.screens import Screen, is_there

NAME = f"shop-{os.getpid()}"
"""Services of others may run on this machine."""
TOP = f"{sys.executable} -m prefork top {NAME}; echo exit=$?; stty -a"
SIZES = ((80, 24), (160, 50))

needs_tmux = pytest.mark.skipif(not is_there(), reason="tmux is not installed")


@contextmanager
def open_screen(running: Running, width: int, height: int) -> Iterator[Screen]:
    environ = clean_environment() | {"PREFORK_CONTROL": running.control, "HOME": str(running.folder)}
    kept = {name: environ[name] for name in ("HOME", "PATH", "PYTHONPATH", "PREFORK_CONTROL")}
    with Screen(width, height, running.folder, kept) as screen:
        yield screen


def read_rows(shown: str) -> list[dict[str, str]]:
    """The workers' rows, by the titles of their columns; titles and cells end (or STATE begins) at one place."""
    lines = shown.splitlines()
    heading = next(line for line in lines if line.lstrip().startswith("SLOT"))
    titles = heading.replace("REASON", "").split()
    rows = [line.lstrip("▶ ") for line in lines if re.match(r"[▶ ] +\d+ +\d+ ", line)]
    return [dict(zip(titles, row.split(), strict=False)) for row in rows]


def read_number(shown: str, label: str) -> float:
    found = re.search(rf"{re.escape(label)} ([\d.]+)(k?)", shown)
    assert found, f"no {label} in\n{shown}"
    return float(found[1]) * (1000 if found[2] else 1)


def has_rate(shown: str) -> bool:
    return re.search(r"req/s [1-9]", shown) is not None


@needs_tmux
def test_a_service_under_load_is_shown_right_at_every_size_and_obeys_the_keys(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--name", NAME, "--settle", "0")
    with Load(running.address, threads=2) as load, open_screen(running, *SIZES[0]) as screen:
        screen.type(TOP, "Enter")
        for width, height in SIZES:
            screen.resize(width, height)
            shown = screen.wait_until(
                lambda shown, height=height: (
                    has_rate(shown) and re.match(r"q quit", shown.splitlines()[height - 1])
                ),  # type: ignore[misc]
                f"rates at {width} x {height}",
            )
            assert_whole(shown, width, height)
            rows = read_rows(shown)
            assert [row["SLOT"] for row in rows] == ["0", "1"]
            assert {int(row["PID"]) for row in rows} == {process.pid for process in running.workers}
            total = read_number(shown, "req/s")
            assert sum(float(row["REQ/S"]) for row in rows) == pytest.approx(total, abs=2)
        screen.type("+")
        screen.wait_for("workers 3/3")
        pid = read_rows(screen.capture())[1]["PID"]
        screen.type("Down", "k")
        assert f"pid {pid}?" in screen.wait_for("y/n")
        screen.type("y")
        screen.wait_until(
            lambda shown: read_rows(shown)[1]["PID"] not in (pid, "-"), "another worker in slot 1"
        )
        screen.type("r")
        screen.wait_for(f"reload {NAME}? y/n")
        screen.type("y")
        screen.wait_until(
            lambda shown: f"{NAME} serving" in shown and "gen 2" in shown, "the second generation"
        )
        # Output that was stopped does not stop the program: what was typed meanwhile is done.
        screen.type("C-s")
        screen.type("q")
        screen.type("C-q")
        assert_given_back(screen, 0)
    assert load.report.lost == 0


@needs_tmux
def test_a_service_that_goes_away_is_waited_for_and_the_terminal_given_back(start: Start) -> None:
    running = start("hello_asgi:app", "--name", NAME, "--log-file", "shop.log", wait=False)
    log = running.folder / "shop.log"
    wait_until(lambda: log.exists() and "serving " in log.read_text(), "that it serves")
    with open_screen(running, 80, 24) as screen:
        screen.type(TOP, "Enter")
        screen.wait_for(f"{NAME} serving")
        for back in ("q", "C-c"):
            screen.type("l")
            screen.wait_until(
                lambda shown: "SLOT" not in shown and "worker ready slot=0" in shown,
                "the log instead of the table",
            )
            screen.type(back)
            screen.wait_for("SLOT")
        running.stop()
        screen.wait_for("waiting for it")
        start("hello_asgi:app", "--name", NAME, env={"PREFORK_CONTROL": running.control})
        screen.wait_for(f"{NAME} serving")
        screen.wait_for("another master answers to this name")
        # Ctrl-Z gives the terminal to the shell, which runs what stands behind `;` next; fg takes it back.
        screen.type("C-z")
        screen.wait_for("exit=148")
        screen.type("clear", "Enter")
        screen.type("fg; echo exit=$?; stty -a", "Enter")
        screen.wait_for(f"{NAME} serving")
        find_top(running).send_signal(signal.SIGTERM)
        assert_given_back(screen, 128 + signal.SIGTERM)


def test_without_a_terminal_there_is_a_table_or_json(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--name", NAME)
    with Load(running.address, threads=2) as load:
        table = running.prefork("top", "--once", NAME)
        since, answered = time.monotonic(), load.answered
        one = running.prefork("monit", "--once", "--json", NAME)
        by_clients = (load.answered - answered) / (time.monotonic() - since)
    refused = running.prefork("top")
    unknown = running.prefork("top", "--once", "nobody")

    assert (table.returncode, table.stderr, table.stdout.isprintable() or "\x1b" not in table.stdout) == (
        0,
        "",
        True,
    )
    assert len(read_rows(table.stdout)) == 2
    (service,) = json.loads(one.stdout)["services"]
    rates = [worker["requests_per_s"] for worker in service["workers"]]
    assert service["name"] == NAME
    assert service["requests_per_s"] == pytest.approx(sum(rates), rel=0.01)
    # What the clients counted, as far as a busy machine lets one say.
    assert by_clients / 3 < service["requests_per_s"] < by_clients * 3
    assert refused.returncode == 2
    assert "--once" in refused.stderr
    assert unknown.returncode == 3
    assert "nobody does not run" in unknown.stderr


def test_all_takes_up_who_starts_later_and_whoever_takes_its_place(start: Start) -> None:
    first = start("hello_asgi:app", "--workers", "1", "--name", "first")
    shared = {"PREFORK_CONTROL": first.control}
    command = [sys.executable, "-m", "prefork", "top", "--json", "--interval", "0.2s", "all"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=first.folder, env=clean_environment() | shared
    ) as top:
        assert top.stdout is not None
        read_line = top.stdout.readline

        def read_states() -> dict[str, str]:
            return {service["name"]: service["state"] for service in json.loads(read_line())["services"]}

        def wait_for(wanted: dict[str, str]) -> None:
            wait_until(lambda: read_states() == wanted, f"{wanted}", poll_s=0)

        wait_for({"first": "serving"})
        second = start("hello_asgi:app", "--workers", "1", "--name", "second", env=shared)
        wait_for({"first": "serving", "second": "serving"})
        second.stop()
        wait_for({"first": "serving", "second": "gone"})
        start("hello_asgi:app", "--workers", "1", "--name", "second", env=shared)
        wait_for({"first": "serving", "second": "serving"})
        top.terminate()


def assert_whole(shown: str, width: int, height: int) -> None:
    """Every line stands where it belongs: none is wider than the terminal, or has gone on in the next."""
    lines = shown.splitlines()
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert lines[0].startswith(f"{NAME} serving")
    assert lines[1].startswith("127.0.0.1:")
    headings = [index for index, line in enumerate(lines) if "SLOT" in line]
    assert len(headings) == 1
    assert lines[headings[0] + 3] == "events"


def assert_given_back(screen: Screen, code: int) -> None:
    shown = screen.wait_for(f"exit={code}")
    assert "SLOT" not in shown
    shown = screen.wait_until(lambda shown: re.search(r"\bechoctl", shown), "stty's answer")
    assert re.search(r" icanon ", shown.replace("\n", " "))
    assert re.search(r" echo ", shown.replace("\n", " "))


def find_top(running: Running) -> psutil.Process:
    """The one that looks at this service: no other has its directory."""
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            words = process.info["cmdline"] or []
            if words[-2:] == ["top", NAME] and process.cwd() == str(running.folder):
                return process
    raise AssertionError("prefork top does not run")
