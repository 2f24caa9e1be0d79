"""As PID 1, and as the parent of strangers: everybody who ends is reaped, and a stop ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.conftest import Start
from tests.integration.container import CONF, Container, NoContainersError, read_recipe
from tests.integration.http_client import get
from tests.integration.running import Running, copy_apps, is_alive, read_title, wait_until
from tests.integration.test_privileges import WAY, open_folder

__all__ = ["open_folder"]  # a fixture

CLOSE_EVERYTHING = (
    "set -e; mount --make-rprivate /; mount -o remount,bind,ro /; "
    "for place in /dev/shm /run /var/tmp; do mount -t tmpfs -o ro none $place; done; "
    'test ! -w /; exec "$@"'
)


def can_unshare() -> bool:
    try:
        done = subprocess.run(
            ["unshare", "-pf", "--mount-proc", "true"], check=False, capture_output=True, timeout=10
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or not can_unshare(), reason="needs root and unshare(1)")
def test_as_pid_1_it_reaps_strangers_and_stops(start: Start) -> None:
    running = start("orphans:app", "--workers", "2", prefix=("unshare", "-pf", "--mount-proc"))
    (master,) = running.find_role("master")
    assert running.find_records("listening")[0].pid == 1

    for _ in range(5):
        assert running.get().status == 200
    wait_until(lambda: running.find_zombies() == [] and count_sleeps(running) == 0, "the orphans' end")
    running.workers[0].kill()
    running.wait_workers(2)
    assert running.find_zombies() == []

    master.send_signal(signal.SIGTERM)
    assert running.wait_exit() == 0
    assert not is_alive(master)


def test_orphans_of_the_app_are_reaped(start: Start) -> None:
    running = start("orphans:app", "--workers", "2")
    for _ in range(5):
        assert running.get().status == 200

    wait_until(lambda: running.find_zombies() == [] and count_sleeps(running) == 0, "the orphans' end")

    assert len(running.wait_workers(2)) == 2


@pytest.mark.skipif(
    WAY is None or not can_unshare(), reason="needs root, unshare(1) and a Python for everybody"
)
def test_as_pid_1_it_serves_without_root_a_home_a_name_or_a_place_to_write(
    open_folder: Path, start: Start
) -> None:
    """What a cluster makes of an image: any uid, a read-only root, no capability, standard output for the log."""
    uid = 54_321
    confine = (
        *(WAY or ()),
        *("unshare", "-pfm", "--mount-proc", "sh", "-c", CLOSE_EVERYTHING, "sh"),
        *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
        *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "env", "-u", "HOME", "-u", "USER"),
    )
    copy_apps(open_folder)
    # It cannot write to its folder either: its log and its output are descriptors that it was given.
    running = start(
        *("pids:app", "--workers", "2", "--access-log", "-", "--log-format", "json", "--max-requests", "5"),
        folder=open_folder,
        prefix=confine,
        bind=None,
        wait=False,
        env={"PORT": "0"},
    )

    def find(event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in running.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    wait_until(lambda: find("serving"), "serving", 20)
    (listening,) = find("listening")
    assert listening["pid"] == 1
    address = ("127.0.0.1", int(listening["address"].rpartition(":")[2]))

    assert get(address).json()["uids"] == [uid] * 3
    for _ in range(12):
        assert get(address).status == 200
    wait_until(lambda: running.output.count("200") >= 13, "the access log")
    wait_until(lambda: len(find("worker ready")) >= 3, "a recycled worker")
    (master,) = running.find_role("master")
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: find("reloaded"), "a reload")
    master.send_signal(signal.SIGTERM)
    assert running.wait_exit() == 0
    assert [line for line in running.log.splitlines() if '"WARNING"' in line or '"ERROR"' in line] == []


SHOWS = """
import json, os, subprocess

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)
    places = ["/", ".", "/tmp", "/run", "/dev/shm", "/var/tmp", "/usr", "/etc", "/proc/sys", "/code"]
    facts = {"uid": os.getuid(), "writable": [place for place in places if os.access(place, os.W_OK)]}
    body = json.dumps(facts).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


def test_the_image_serves_is_probed_reloads_and_stops_as_its_files_say(
    request: pytest.FixtureRequest,
) -> None:
    """The Dockerfile's own words and conf/docker/prefork.toml's ports, as a uid that nobody has heard of."""
    recipe = read_recipe()
    files = {"main.py": SHOWS, "prefork.toml": (CONF / "docker/prefork.toml").read_text()}
    try:
        container = Container(recipe, files, "--shutdown-delay", "1s", "--workers", "2", user="54321:0")
    except NoContainersError as error:
        pytest.skip(str(error))
    request.addfinalizer(container.close)
    container.wait_for("serving")
    http, admin = recipe.ports

    with container.reaching():
        for _ in range(3):
            answer = get(("127.0.0.1", http))
            assert answer.json() == {"uid": 54321, "writable": []}
        assert (get(("127.0.0.1", admin), "/livez").status, get(("127.0.0.1", admin), "/readyz").status) == (
            200,
            200,
        )
    # An engine asks three times before it believes a no.
    wait_until(lambda: container.run(*recipe.health).returncode == 0, "a healthy answer")
    wait_until(lambda: container.output.count('"status":200') == 3, "the access log on standard output")
    assert container.wait_for("listening")["pid"] == 1
    wait_until(lambda: not list_strangers(container.init), "the orphans' end")

    container.init.send_signal(signal.SIGHUP)
    container.wait_for("reloaded")

    container.init.send_signal(signal.SIGTERM)
    container.wait_for("stopping")
    # For the balancer it is gone, for its clients not yet.
    with container.reaching():
        assert get(("127.0.0.1", admin), "/readyz").status == 503
        assert get(("127.0.0.1", http)).status == 200
    assert container.run(*recipe.health).returncode != 0
    assert container.wait_exit(20) == 0
    complaints = [line for line in container.records if line["level"] != "info"]
    # There is no place at all for what prometheus_client would write, if it is installed.
    assert {line["event"] for line in complaints} <= {"the app's metrics are left out"}, complaints


def list_strangers(init: psutil.Process) -> list[str]:
    """Dead or alive, who is below it and is none of ours."""
    return [
        title
        for child in init.children(recursive=True)
        if not (title := read_title(child)).startswith("prefork: ")
    ]


def count_sleeps(running: Running) -> int:
    return sum(1 for process in running.find_processes() if read_title(process).startswith("sleep "))
