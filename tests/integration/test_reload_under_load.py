"""Reloads under load: nothing is refused, reset, cut, wrong or late, whatever requests and workers do meanwhile.

`RELOADS=50` in the environment makes the steady load's test reload fifty times instead of ten.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from prefork.config.options import OPTIONS
from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.load import Load, MixedLoad
from tests.integration.running import Running, read_title, wait_until

RELOADS = int(os.environ.get("RELOADS", "10"))
RELOAD_TIMEOUT_S = 20.0
# The canary's time of proof is the roll's, not what these tests are about.
AT_ONCE = ("--settle", "0") if any(option.key == "settle" for option in OPTIONS) else ()

pytestmark = pytest.mark.timeout(60 + 15 * RELOADS)

both_interfaces = pytest.mark.parametrize(
    "app", ["echoes:app", pytest.param("echoes:wsgi", marks=pytest.mark.thorough)], ids=["asgi", "wsgi"]
)


@both_interfaces
def test_reloads_under_a_steady_load_lose_nothing(start: Start, app: str) -> None:
    """Ten reloads, or `RELOADS`, each waited for; GET, POST and short connections all go on during each of them."""
    running = start(app, "--workers", "4", *AT_ONCE)

    with MixedLoad(running.address) as load:
        for _ in range(RELOADS):
            answered = load.answered
            roll(running)
            wait_until(lambda: load.answered > answered, "answers of every kind")  # noqa: B023 at once

    assert load.report.lost == 0, load.report
    running.wait_workers(4)
    assert running.get().body.startswith(b"%d GET / " % (RELOADS + 1))
    wait_until(lambda: len(running.zygotes) == 1, "the end of the old zygotes")


def test_a_burst_of_reloads_loses_nothing_and_ends_with_the_newest(start: Start) -> None:
    running = start("echoes:app", "--workers", "4", *AT_ONCE)

    with MixedLoad(running.address) as load:
        for _ in range(20):
            answered = load.answered
            running.signal(signal.SIGHUP)
            wait_until(lambda: load.answered > answered, "an answer")  # noqa: B023 at once
        # Pending signals are delivered by number (signal(7)): whoever has heard this one has heard every HUP.
        running.signal(signal.SIGUSR1)
        running.wait_for_record("no log file to reopen")
        wait_at_rest(running)

    assert load.report.lost == 0, load.report
    assert len(running.find_records("reloaded")) == len(running.find_records("reload")) > 1
    running.wait_workers(4)
    assert running.get().body.split()[0] == running.find_records("reload")[-1].fields["gen"].encode()


@pytest.mark.parametrize(
    "app", ["sleepy:app", pytest.param("sleepy:wsgi", marks=pytest.mark.thorough)], ids=["asgi", "wsgi"]
)
@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "close"])
def test_requests_of_a_second_complete_across_reloads(start: Start, app: str, *, keep_alive: bool) -> None:
    running = start(app, "--workers", "4", *AT_ONCE)

    with Load(running.address, is_a_pid, path="/?s=1", threads=6, keep_alive=keep_alive) as load:
        for _ in range(5):
            roll(running)
        wait_until(lambda: load.answered >= 10, "answers")

    assert load.report.lost == 0, load.report


def test_a_long_request_holds_back_nobody_and_the_master_answers_meanwhile(
    start: Start, tmp_path: Path
) -> None:
    running = start("held:app", "--workers", "2", *AT_ONCE)
    with Connection(running.address, RELOAD_TIMEOUT_S) as connection:
        connection.send(b"GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until((tmp_path / "held").exists, "a request that is held")

        for gen in (2, 3):
            roll(running)
            # Until the last old worker has left rotation it may still answer.
            wait_until(lambda: running.get().body == b"%d" % gen, "an answer of the new ones")  # noqa: B023 at once
        running.signal(signal.SIGTTIN)
        running.wait_for_record("scale", workers=3)
        wait_until(lambda: len(running.ready_workers) == 3, "one worker more")
        wait_until(lambda: len(running.find_role("worker", "draining")) == 1, "the one that holds it")
        assert "gen=1 " in read_title(running.find_role("worker", "draining")[0])

        (tmp_path / "release").touch()
        response = connection.read_response()
    assert (response.status, response.body, response.says_close()) == (200, b"1", True)
    running.wait_workers(3)
    wait_until(lambda: len(running.zygotes) == 1, "the end of the old zygotes")


@pytest.mark.parametrize("preload", ["auto", pytest.param("never", marks=pytest.mark.thorough)])
def test_a_slow_import_keeps_nobody_waiting(start: Start, preload: str) -> None:
    """Whether the zygote imports or each worker: the old one goes on until the new one is ready."""
    import_s, patience_s = 3, 2
    running = start("slow_import:app", "--preload", preload, *AT_ONCE, env={"IMPORT_S": str(import_s)})

    with (
        Load(running.address, timeout_s=patience_s) as kept,
        Load(running.address, timeout_s=patience_s, keep_alive=False) as fresh,
    ):
        roll(running)
    assert (kept.report.lost, fresh.report.lost) == (0, 0), (kept.report, fresh.report)


@both_interfaces
def test_a_backlog_behind_stopped_workers_is_served_by_the_next_and_the_last(start: Start, app: str) -> None:
    running = start(app, "--workers", "4", "--keep-alive", "30s", *AT_ONCE)
    kept = [Connection(running.address) for _ in range(20)]
    for connection in kept:
        assert connection.request().status == 200
    old = running.wait_workers(4)
    for worker in old:
        worker.suspend()
    wait_until(lambda: all(w.status() == psutil.STATUS_STOPPED for w in old), "workers that do not run")
    waiting = [Connection(running.address) for _ in range(100)]
    for connection in (*kept, *waiting):
        connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")

    running.signal(signal.SIGHUP)
    running.wait_for_record("worker ready", gen=2)
    assert [connection.read_response().status for connection in waiting] == [200] * 100
    for worker in old:
        worker.resume()
    assert [connection.read_response().status for connection in kept] == [200] * 20

    for connection in (*kept, *waiting):
        connection.close()
    running.wait_for_record("reloaded", timeout_s=RELOAD_TIMEOUT_S)
    running.wait_workers(4)
    assert running.find_records("worker condemned") == []


@both_interfaces
@pytest.mark.parametrize("spoke", [False, True], ids=["fresh", "idle"])
def test_connections_that_speak_after_the_drain_began_are_answered(
    start: Start, app: str, *, spoke: bool
) -> None:
    running = start(app, "--workers", "2", "--keep-alive", "20s", "--header-timeout", "20s", *AT_ONCE)
    connections = [Connection(running.address) for _ in range(200)]
    if spoke:
        assert [connection.request("/first").status for connection in connections] == [200] * 200
    wait_until(lambda: count_accepted(running) == 200, "workers that have accepted them all")

    running.signal(signal.SIGHUP)
    wait_until(lambda: len(running.find_role("worker", "draining")) == 2, "old workers that drain")
    responses = [connection.request("/second") for connection in connections]
    for connection in connections:
        connection.close()

    assert [(r.status, r.body[:14], r.says_close()) for r in responses] == [
        (200, b"1 GET /second ", True)
    ] * 200
    running.wait_for_record("reloaded")
    running.wait_workers(2)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (Debian: apt-get install wrk)")
@pytest.mark.parametrize(
    "app",
    ["hello_asgi:app", pytest.param("hello_wsgi:app", marks=pytest.mark.thorough)],
    ids=["asgi", "wsgi"],
)
def test_wrk_sees_no_socket_error_over_three_reloads(start: Start, app: str) -> None:
    running = start(app, "--workers", "4", *AT_ONCE)

    command = ["wrk", "-t1", "-c32", "-d100s", f"http://127.0.0.1:{running.port}/"]
    wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(3):
            roll(running, timeout_s=2 * RELOAD_TIMEOUT_S)
        wrk.send_signal(signal.SIGINT)  # it ends, and tells what it saw
        told, _ = wrk.communicate(timeout=RELOAD_TIMEOUT_S)
    finally:
        wrk.kill()
        wrk.wait()

    counted = re.search(r"(\d+) requests in", told)
    assert counted, told
    assert int(counted[1]) > 100, told
    assert "Socket errors" not in told, told
    assert "Non-2xx" not in told, told


def roll(running: Running, timeout_s: float = RELOAD_TIMEOUT_S) -> None:
    """One reload, to its end."""
    done = len(running.find_records("reloaded"))
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded", count=done + 1, timeout_s=timeout_s)


def wait_at_rest(running: Running) -> None:
    """Nothing rolls, nothing is missing: the title changes after all else was decided."""
    wait_until(lambda: read_title(running.master).endswith("(serving)"), "a master at rest", RELOAD_TIMEOUT_S)


def count_accepted(running: Running) -> int:
    port = running.port
    return sum(
        connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == port
        for worker in running.workers
        for connection in worker.net_connections("tcp")
    )


def is_a_pid(response: object) -> bool:
    return getattr(response, "body", b"").isdigit()
