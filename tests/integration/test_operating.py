"""A running service, operated as people do it: commands in, the truth out, whatever the workers do."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefork.control.client import Talk, find_services, read_status
from prefork.control.requests import AskReload
from tests.integration.conftest import Start
from tests.integration.running import Running, clean_environment, wait_until

ANSWER_S = 0.05


def send(running: Running, path: str) -> socket.socket:
    """A request whose answer nobody waits for."""
    assert isinstance(running.address, tuple)
    client = socket.create_connection(running.address)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    return client


def fastest_status_s(running: Running) -> float:
    """The best of three: the machine may be busy with other things."""
    path, taken = find_socket(running), []
    for _ in range(3):
        began = time.perf_counter()
        read_status(path)
        taken.append(time.perf_counter() - began)
    return min(taken)


def find_socket(running: Running) -> str:
    (found,) = running.find_records("control socket")
    return found.fields["path"]


def test_a_services_life_told_by_commands(start: Start, tmp_path: Path) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--name", "shop", "--settle", "0")
    path = Path(find_socket(running))
    assert (path.name, path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (
        "shop.sock",
        0o600,
        0o700,
    )

    listed = running.prefork("ls")
    head, row = listed.stdout.splitlines()
    assert head.split()[:4] == ["NAME", "STATE", "READY", "PID"]
    assert row.split()[:4] == ["shop", "serving", "2/2", str(running.pid)]
    assert max(map(len, (head, row))) <= 80

    assert running.get().status == 200
    assert running.prefork("status").returncode == 0
    scaled = running.prefork("scale", "shop", "+1")
    assert (scaled.returncode, scaled.stdout) == (0, "shop: 3 workers, was 2\n")
    running.wait_workers(3)

    reloaded = running.prefork("reload", "--wait")
    assert reloaded.returncode == 0, reloaded.stderr
    lines = reloaded.stdout.splitlines()
    assert lines[-1] == "shop: reloaded, 3 workers run generation 2"
    assert "shop: generation 2: 1/3 rolling" in lines

    before = {worker.slot: worker.pid for worker in read_status(str(path)).workers if worker.gen == 2}
    replaced = running.prefork("restart", "shop", "--worker", "1", "--wait")
    assert replaced.returncode == 0, replaced.stderr
    status = read_status(str(path))
    after = {worker.slot: worker.pid for worker in status.workers if worker.state == "ready"}
    assert (after[0], after[2], status.restarts) == (before[0], before[2], {"asked": 1})
    assert after[1] != before[1]

    assert running.prefork("drain", "s*").returncode == 0
    assert not read_status(str(path)).is_ready
    assert running.get().status == 200, "it goes on serving"
    assert running.prefork("undrain", "all").returncode == 0
    assert read_status(str(path)).is_ready

    asked = [json.loads(line) for line in running.prefork("events", "--json").stdout.splitlines()]
    assert [event["event"] for event in asked if event["event"].startswith("asked")] == [
        "asked to scale",
        "asked to reload",
        "asked to restart",
        "asked to drain",
        "asked to undrain",
    ]
    assert {event["fields"]["uid"] for event in asked if event["event"].startswith("asked")} == {os.geteuid()}

    stopped = running.prefork("stop", "shop")
    assert (stopped.returncode, stopped.stdout) == (0, "shop: stopped\n")
    assert running.process.poll() == 0, "it is gone when stop returns"
    assert not path.exists()
    assert running.prefork("status", "shop").returncode == 3
    assert running.prefork("ls").stdout.startswith("nothing is running")


def test_status_answers_at_once_while_every_worker_is_stuck_and_stacks_say_where(start: Start) -> None:
    running = start("stuck:app", "--workers", "2", "--timeout", "60", "--graceful-timeout", "1")
    with send(running, "/spin"):
        wait_until(lambda: read_status(find_socket(running)).in_flight == 1, "the first request")
        block = send(running, "/block")

        def both_are_stuck() -> str | None:
            shown = running.prefork("stacks").stdout
            return shown if "spin_for_ever" in shown and "block_in_c" in shown else None

        shown = wait_until(both_are_stuck, "both stacks") or ""
        assert re.findall(r"^worker (\d), pid \d+, ready$", shown, re.MULTILINE) == ["0", "1"]
        assert fastest_status_s(running) < ANSWER_S
        assert running.prefork("stop", "--quick").returncode == 0
        block.close()
    assert running.wait_exit() == 0


def test_status_answers_at_once_during_a_reload(start: Start) -> None:
    running = start("slow_import:app", "--workers", "2", "--settle", "0", env={"IMPORT_S": "1"})
    with Talk(find_socket(running)) as talk:
        answers = talk.ask(AskReload(wait=True), silence_s=20)
        next(answers)
        assert fastest_status_s(running) < ANSWER_S
        status = read_status(find_socket(running))
        assert status.state == "reloading"
        assert status.rollout is not None
        assert (status.rollout.gen, status.rollout.moved, status.rollout.of) == (2, 0, 2)
        *_, done = answers
        assert running.prefork("status").returncode == 0
    assert read_status(find_socket(running)).last_reload == "ok", done


def test_a_reload_that_fails_says_why_and_with_which_exit_code(start: Start, tmp_path: Path) -> None:
    (tmp_path / "prefork.toml").write_text("workers = 1\nsettle = 0\n")
    running = start("hello_asgi:app")
    app = tmp_path / "hello_asgi.py"
    good = app.read_text()

    app.write_text("def broken():\n    raise RuntimeError('no database')\nbroken()\n")
    failed = running.prefork("reload", "--wait")
    assert failed.returncode == 3
    assert 'hello_asgi.py", line 2, in broken' in failed.stderr
    assert "error: the reload failed: " in failed.stderr
    assert failed.stderr.rstrip().endswith("generation 1 serves on, unchanged")
    assert "prefork/" not in failed.stderr, "no frame of ours"

    app.write_text(good)
    (tmp_path / "prefork.toml").write_text("wokers = 2\n")
    refused = running.prefork("reload")
    assert refused.returncode == 78
    assert "error: reload refused: " in refused.stderr
    assert "did you mean workers?" in refused.stderr

    (tmp_path / "prefork.toml").write_text("workers = 1\nsettle = 0\n")
    assert running.prefork("reload", "--wait").returncode == 0
    status = read_status(find_socket(running))
    assert (status.reloads, status.rollbacks, status.last_reload, status.gen) == (1, 1, "ok", 3)
    assert running.get().status == 200


def test_a_stop_of_a_master_that_is_killed_meanwhile_is_no_success(start: Start) -> None:
    running = start("sleepy:app", "--graceful-timeout", "20")
    with send(running, "/?s=6"):
        wait_until(lambda: read_status(find_socket(running)).in_flight == 1, "a request in flight")
        stopping = subprocess.Popen(
            [sys.executable, "-m", "prefork", "stop"],
            env=clean_environment() | {"PREFORK_CONTROL": running.control},
            stderr=subprocess.PIPE,
            text=True,
        )
        running.wait_for_record("stopping")
        running.find_processes()
        assert read_status(find_socket(running)).state == "stopping", "and is still told"
        running.signal(signal.SIGKILL)
        _, said = stopping.communicate(timeout=20)
    assert (stopping.returncode, "was killed before it had stopped" in said) == (1, True)
    running.wait_gone()


def test_two_masters_of_one_name_are_both_operated(start: Start, tmp_path: Path) -> None:
    first = start("hello_asgi:app", "--name", "twin")
    second = start("hello_asgi:app", "--name", "twin", env={"PREFORK_CONTROL": first.control})
    assert Path(find_socket(second)).name == f"twin-{second.pid}.sock"
    found = find_services({"PREFORK_CONTROL": first.control})
    assert {service.status.pid for service in found} == {first.pid, second.pid}
    ambiguous = first.prefork("status", "twin")
    assert ambiguous.returncode == 2
    assert str(second.pid) in ambiguous.stderr
    assert first.prefork("stop", "all").returncode == 0
    assert (first.wait_exit(), second.wait_exit()) == (0, 0)


READ_ONLY = """
mkdir -p -m 700 /tmp/prefork-0
mount -t tmpfs -o ro none /run && mount -t tmpfs -o ro,mode=700 none /tmp/prefork-0 && exec "$@"
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="needs root and unshare(1)",
)
def test_without_a_place_to_write_one_line_says_so_and_it_serves(start: Start) -> None:
    running = start(
        "hello_asgi:app",
        env={"PREFORK_CONTROL": "", "XDG_RUNTIME_DIR": ""},
        prefix=("unshare", "-m", "sh", "-c", READ_ONLY, "sh"),
    )
    said = [record for record in running.records if record.event.startswith("no control socket: ")]
    assert [record.level for record in said] == ["INFO"]
    assert running.get().status == 200
    assert running.stop() == 0
