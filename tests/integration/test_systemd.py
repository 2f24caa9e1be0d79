"""The units in conf/systemd, under systemd itself."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.http_client import Connection, get
from tests.integration.load import MixedLoad
from tests.integration.real_systemd import RealSystemd, UnavailableError
from tests.integration.running import wait_until

# Serves when the file `go` is there; answers with what the unit leaves it.
APP = """
import asyncio, json, os, tempfile

VERSION = 1
PLACES = {"/srv", "/usr", "/etc", "/run", "/var/lib"}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        while not os.path.exists("go"):
            await asyncio.sleep(0.02)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"slow ", "more_body": True})
        while not os.path.exists("end"):
            await asyncio.sleep(0.02)
    with tempfile.TemporaryFile() as file:
        file.write(b"it has a place of its own")
    facts = {
        "version": VERSION,
        "pid": os.getpid(),
        "uid": os.getuid(),
        "writable": sorted(place for place in PLACES if os.access(place, os.W_OK)),
        "state": os.access(os.environ["STATE_DIRECTORY"], os.W_OK),
        "devices": os.path.exists("/dev/vda") or os.path.exists("/dev/sda"),
        "homes": os.access("/root", os.R_OK),
    }
    body = json.dumps(facts).encode()
    if scope["path"] != "/slow":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
CONFIGURATION = """
app = "shown:app"
name = "shop"
bind = "unix:/run/prefork-NAME/http.sock"
socket-mode = "666"
workers = 2
min-ready = 2
settle = 0
"""


@pytest.fixture(scope="module")
def systemd() -> Iterator[RealSystemd]:
    try:
        running = RealSystemd()
    except UnavailableError as error:
        pytest.skip(str(error))
    try:
        yield running
    finally:
        running.close()


def add_shop(systemd: RealSystemd, name: str, *, unit: str = "", is_ready: bool = True) -> Path:
    folder = systemd.add_app(name, CONFIGURATION.replace("NAME", name), unit=unit)
    (folder / "shown.py").write_text(APP)
    if is_ready:
        (folder / "go").touch()
    return folder


def ask(systemd: RealSystemd, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = get(str(systemd.root / f"run/prefork-{name}/http.sock")).json()
    return answer


def test_start_and_reload_end_when_the_workers_are_there_and_reload_says_how_it_went(
    systemd: RealSystemd,
) -> None:
    service = "prefork@shop"
    folder = add_shop(systemd, "shop", is_ready=False)
    systemd.systemctl("start", "--no-block", service)
    wait_until(lambda: "0 of 2 workers ready" in systemd.show(service, "StatusText"), "its first words")
    assert systemd.show(service, "ActiveState") == "activating"
    (folder / "go").touch()
    wait_until(lambda: systemd.show(service, "ActiveState") == "active", "its start")

    # What the unit leaves it: no name, no devices, no homes; places of its own to write to, and no others.
    facts = ask(systemd, "shop")
    assert facts["uid"] == int(systemd.show(service, "UID")) >= 61184  # DynamicUser's
    assert (facts["writable"], facts["state"], facts["devices"], facts["homes"]) == ([], True, False, False)

    for version in (2, 3):  # once could be luck
        (folder / "shown.py").write_text(APP.replace("VERSION = 1", f"VERSION = {version} "))
        systemd.systemctl("reload", service)
        assert systemd.show(service, "ActiveState") == "active"
        assert {ask(systemd, "shop")["version"] for _ in range(20)} == {version}

    (folder / "shown.py").write_text("raise RuntimeError('broken')")
    failed = systemd.systemctl("reload", service, check=False)
    assert failed.returncode != 0
    assert systemd.show(service, "ActiveState") == "active"
    assert ask(systemd, "shop")["version"] == 3
    wait_until(
        lambda: re.search(
            r'Status: "2 of 2 workers ready, \d+ requests/s, 0 in flight"', show_status(systemd, service)
        ),
        "figures",
    )
    (folder / "shown.py").write_text(APP)
    systemd.systemctl("stop", service)
    assert systemd.show(service, "Result") == "success"
    # The log.
    journal = systemd.read_journal("--unit", service)
    assert "RuntimeError: broken" in journal
    assert "[INFO] stopped" in journal


def show_status(systemd: RealSystemd, service: str) -> str:
    return systemd.systemctl("status", service, check=False).stdout


def test_a_restart_under_load_loses_nothing_while_systemd_holds_the_port(systemd: RealSystemd) -> None:
    systemd.add_app("echo", 'app = "echoes:app"\nworkers = 2\n')
    systemd.systemctl("start", "prefork@echo.socket")
    # Nobody serves yet: the first connection starts it.
    assert systemd.show("prefork@echo", "ActiveState") == "inactive"
    with systemd.reaching(), MixedLoad(("127.0.0.1", 80)) as load:
        wait_until(lambda: load.answered > 20, "answers", 25)
        pid = systemd.show("prefork@echo", "MainPID")
        systemd.systemctl("restart", "prefork@echo.service")
        answered = load.answered
        wait_until(lambda: load.answered > answered + 20, "answers")
        assert systemd.show("prefork@echo", "MainPID") not in {pid, "0"}
    assert load.report.lost == 0, load.report
    assert "fd_name=web" in systemd.read_journal("--unit", "prefork@echo")
    systemd.systemctl("stop", "prefork@echo.socket", "prefork@echo.service")


def test_a_master_that_hangs_is_started_again(systemd: RealSystemd) -> None:
    service = "prefork@stuck"
    add_shop(systemd, "stuck", unit="[Service]\nWatchdogSec=1\nRestartSec=0.1\n")
    systemd.systemctl("start", service)
    pid = systemd.show(service, "MainPID")
    systemd.systemctl("kill", "--kill-who=main", "--signal=STOP", service)
    wait_until(lambda: systemd.show(service, "MainPID") not in {pid, "0"}, "another master", poll_s=0.05)
    wait_until(lambda: systemd.show(service, "ActiveState") == "active", "its start")
    assert ask(systemd, "stuck")["version"] == 1
    assert systemd.show(service, "NRestarts") == "1"
    assert "Watchdog timeout" in systemd.read_journal("--unit", service)
    systemd.systemctl("stop", service)


def test_a_drain_that_takes_longer_than_a_stop_may_is_given_the_time(systemd: RealSystemd) -> None:
    service = "prefork@slow"
    folder = add_shop(systemd, "slow", unit="[Service]\nTimeoutStopSec=1\n")
    systemd.systemctl("start", service)
    with Connection(str(systemd.root / "run/prefork-slow/http.sock")) as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
        client.read_until(b"slow \r\n")
        systemd.systemctl("stop", "--no-block", service)
        wait_until(lambda: systemd.show(service, "ActiveState") == "deactivating", "the stop")
        began = time.monotonic()
        wait_until(lambda: "1 requests in flight" in systemd.show(service, "StatusText"), "its words")
        wait_until(lambda: time.monotonic() > began + 2, "twice the time", poll_s=0.1)
        (folder / "end").touch()
        assert b'"version": 1' in client.read_chunked()
    wait_until(lambda: systemd.show(service, "ActiveState") == "inactive", "its end")
    assert systemd.show(service, "Result") == "success"
