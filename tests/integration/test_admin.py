"""`--admin`: whoever asks hears how the service is, and nothing that happens there costs the service anything."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.integration.conftest import Start
from tests.integration.http_client import Address, Connection, CutError, get
from tests.integration.load import Load
from tests.integration.running import Running, clean_environment, parse_address, wait_until
from tests.integration.test_privileges import NOBODY, WAY, needs_nobody, open_folder

__all__ = ["open_folder"]

OPENMETRICS = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"
ADMIN = ("--admin", "127.0.0.1:0")


def find_admin(running: Running, count: int = 1) -> Address:
    """Where it answers: the newest of so many addresses."""
    return parse_address(running.wait_for_record("admin listening", count=count).fields["address"])


def find_process(running: Running) -> psutil.Process:
    return wait_until(lambda: running.find_role("admin"), "an admin process")[0]


def ask(admin: Address, path: str) -> tuple[int, str]:
    response = get(admin, path)
    return response.status, response.body.decode().strip()


def wait_answer(admin: Address, path: str, answer: tuple[int, str]) -> None:
    wait_until(lambda: ask(admin, path) == answer, f"{answer} of {path}")


def is_refused(admin: Address) -> bool:
    """Who is let in while the listener closes is cut; nobody is answered any more."""
    try:
        answer = get(admin, "/livez")
    except (ConnectionError, CutError) as error:
        return isinstance(error, ConnectionRefusedError)
    raise AssertionError(answer)


def read_metrics(admin: Address) -> dict[str, float]:
    """Every sample by its name and labels, as a scraper reads them."""
    with Connection(admin) as connection:
        text = connection.request("/metrics", head=OPENMETRICS).body.decode()
    return {
        sample.name
        + "".join(f"{{{key}={value}}}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def find_metrics_dir(running: Running) -> Path:
    return Path(running.get("/where").body.decode())


def test_readyz_tells_balancers_when_to_come_and_to_go_and_livez_never_wavers(start: Start) -> None:
    running = start("slow_import:app", "--shutdown-delay", "1", "--settle", "0", *ADMIN, wait=False)
    admin = find_admin(running)
    assert ask(admin, "/readyz") == (503, "starting: 0 of 1 workers ready, 1 needed")
    assert ask(admin, "/livez") == (200, "alive")
    running.wait_serving()
    wait_answer(admin, "/readyz", (200, "ready"))
    running.signal(signal.SIGWINCH)
    wait_answer(admin, "/readyz", (503, "parked: every worker was drained"))
    running.signal(signal.SIGHUP)
    wait_answer(admin, "/readyz", (200, "ready"))
    running.signal(signal.SIGTERM)
    wait_answer(admin, "/readyz", (503, "stopping"))
    assert ask(admin, "/livez") == (200, "alive")
    assert running.get().status == 200, "it serves on during --shutdown-delay"
    assert running.wait_exit() == 0
    running.wait_gone()


def test_drain_leaves_the_balancers_and_nothing_else_and_undrain_comes_back(
    start: Start, tmp_path: Path
) -> None:
    control = {"PREFORK_CONTROL": str(tmp_path / "control.sock")}
    running = start("hello_asgi:app", "--name", "shop", *ADMIN, env=control)
    admin = find_admin(running)

    def operate(command: str) -> None:
        words = [sys.executable, "-m", "prefork", command, "shop"]
        subprocess.run(words, env=clean_environment() | control, check=True, timeout=30, capture_output=True)

    wait_answer(admin, "/readyz", (200, "ready"))
    operate("drain")
    wait_answer(admin, "/readyz", (503, "drained by an operator"))
    assert running.get().status == 200
    operate("undrain")
    wait_answer(admin, "/readyz", (200, "ready"))


def test_ready_means_as_many_workers_as_were_asked_for(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--min-ready", "100%", *ADMIN)
    admin = find_admin(running)
    wait_answer(admin, "/readyz", (200, "ready"))
    running.zygotes[0].suspend()  # nobody is forked any more
    running.workers[0].kill()
    wait_answer(admin, "/readyz", (503, "degraded: 1 of 2 workers ready, 2 needed"))


def test_a_reload_that_fails_is_counted_and_leaves_the_service_ready(start: Start, tmp_path: Path) -> None:
    running = start("hello_asgi:app", "--settle", "0", *ADMIN)
    admin = find_admin(running)
    (tmp_path / "hello_asgi.py").write_text("raise RuntimeError('broken deploy')\n")
    running.signal(signal.SIGHUP)
    running.wait_for_record("reload failed")
    assert ask(admin, "/readyz") == (200, "ready")
    wait_until(lambda: read_metrics(admin)["prefork_rollbacks_total"] == 1, "the rollback")
    found = read_metrics(admin)
    assert (found["prefork_reloads_total"], found["prefork_generation"]) == (0, 1)


def test_what_is_counted_is_what_was_sent_also_by_workers_that_are_gone(start: Start) -> None:
    running = start(
        "hello_asgi:app", "--workers", "2", "--max-requests", "50", "--min-uptime", "100ms", *ADMIN
    )
    admin = find_admin(running)
    with Load(running.address) as load:
        restarts = "prefork_restarts_total{reason=max-requests}"
        wait_until(lambda: read_metrics(admin)[restarts] >= 3, "recycled workers")
    sent = load.report.ok
    assert load.report.lost == 0
    found = wait_until(
        lambda: (found := read_metrics(admin))["prefork_requests_total{code=2xx}"] >= sent and found,
        "the last beat",
    )
    assert isinstance(found, dict)
    assert found["prefork_requests_total{code=2xx}"] == sent
    told = get(admin, "/status.json").json()
    assert (told["totals"]["requests"], told["totals"]["statuses"][1]) == (sent, sent)
    # Of one that is killed, what it did since its last beat is lost: half a second's worth, and nothing else.
    with Load(running.address) as load:
        wait_until(lambda: load.answered > 100, "load")
        running.workers[0].kill()
        running.wait_for_record("worker exited", how="SIGKILL")
    sent += load.answered
    time_lost_s = 0.6
    wait_until(lambda: read_metrics(admin)["prefork_requests_in_flight"] == 0, "quiet")
    lost = sent - read_metrics(admin)["prefork_requests_total{code=2xx}"]
    assert -load.report.lost <= lost <= time_lost_s * 4 * 1000


def test_the_apps_own_metrics_are_merged_and_survive_their_workers(start: Start) -> None:
    running = start("metered:app", "--workers", "4", "--min-uptime", "0", *ADMIN)
    admin, sent = find_admin(running), 0
    directory = find_metrics_dir(running)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for _ in range(6):
        old = {worker.pid for worker in running.wait_workers(4)}
        for _ in range(20):
            assert running.get("/a").status == 200
            sent += 1
        for pid in old:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not old & {w.pid for w in running.workers}, "their successors")  # noqa: B023  # at once
    running.wait_workers(4)
    assert running.get("/a").status == 200
    found = read_metrics(admin)
    assert found["shop_hits_total{path=/a}"] == sent + 1
    assert found["shop_plain_total"] == sent + 1
    assert found["shop_seconds_bucket{le=1.0}"] == sent + 1
    assert found["shop_smallest"] == 5, "the zygote, which has set nothing, does not count"
    assert found["shop_live"] == 1, "those of the dead are gone"
    assert len([key for key in found if key.startswith("shop_each{")]) == 1
    assert len(list(directory.iterdir())) < 30, "a few for each process that lives"
    assert running.stop() == 0
    assert not directory.exists()


def test_a_directory_of_the_users_is_used_and_left_alone(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    (directory / "counter_1.db").touch()
    running = start("metered:app", "--env", f"PROMETHEUS_MULTIPROC_DIR={directory}", *ADMIN)
    assert running.get().status == 200
    assert read_metrics(find_admin(running))["shop_plain_total"] == 1
    assert running.stop() == 0
    assert (directory / "counter_1.db").exists()


def test_an_admin_process_that_is_killed_or_stopped_is_replaced(start: Start) -> None:
    running = start("hello_asgi:app", *ADMIN)
    admin, first = find_admin(running), find_process(running)
    assert first.ppid() == running.pid
    first.kill()
    running.wait_for_record("admin process lost", why="it ended")
    wait_answer(admin, "/livez", (200, "alive"))
    second = find_process(running)
    second.suspend()
    assert running.get().status == 200
    running.wait_for_record("admin process lost", count=2, timeout_s=15)
    wait_answer(admin, "/livez", (200, "alive"))
    wait_until(lambda: not running.find_zombies(), "the end of the old ones")
    third = find_process(running)
    assert len({first.pid, second.pid, third.pid}) == 3
    running.process.kill()
    wait_until(lambda: not third.is_running(), "the end of the third, with its master")


def test_livez_says_so_when_the_master_does_not_answer(start: Start) -> None:
    running = start("hello_asgi:app", *ADMIN)
    admin = find_admin(running)
    wait_answer(admin, "/livez", (200, "alive"))
    running.master.suspend()
    wait_answer(admin, "/livez", (503, "the master does not answer"))
    running.master.resume()
    wait_answer(admin, "/livez", (200, "alive"))


def test_slow_huge_and_garbage_clients_are_no_hindrance(start: Start) -> None:
    running = start("hello_asgi:app", *ADMIN)
    admin = find_admin(running)
    process = find_process(running)
    wait_answer(admin, "/livez", (200, "alive"))
    with ExitStack() as opened:
        for begins in (
            b"",
            b"G",
            b"GET /metrics HTTP/1.1\r\n",
            b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50,
        ) * 20:
            opened.enter_context(Connection(admin)).send(begins)
        for garbage, status in (
            (b"\x16\x03\x01\x02\x00\x01\x00", 400),
            (b"GET /livez HTTP/1.1\r\n\r\n", 400),
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
            (b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
            (b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
            (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ):
            with Connection(admin) as connection:
                connection.send(garbage)
                assert connection.read_response().status == status, garbage[:60]
        begun = time.monotonic()
        assert ask(admin, "/livez") == (200, "alive")
        assert time.monotonic() - begun < 1
    assert find_process(running).pid == process.pid
    assert running.complaints == []


def test_pages_answer_get_and_head_in_the_format_that_is_asked_for(start: Start) -> None:
    running = start("hello_asgi:app", *ADMIN)
    with Connection(find_admin(running)) as connection:
        assert "/readyz" in connection.request("/").body.decode()
        whole = connection.request("/livez")
        bare = connection.request("/livez", method="HEAD")
        assert (bare.status, bare.header("content-length"), bare.body) == (200, str(len(whole.body)), b"")
        classic = connection.request("/metrics")
        assert (classic.header("content-type") or "").startswith("text/plain; version=0.0.4")
        assert b"# TYPE prefork_requests_total counter" in classic.body
        openmetrics = connection.request("/metrics", head=OPENMETRICS)
        assert (openmetrics.header("content-type") or "").startswith("application/openmetrics-text")
        assert openmetrics.body.endswith(b"# EOF\n")
        told = connection.request("/status.json").json()
        assert (told["workers_ready"], told["is_ready"]) == (1, True)
        roles = sorted(process["role"] for process in told["processes"])
        assert {"admin", "master", "worker", "zygote"} <= set(roles)
        assert all(process["rss_bytes"] > 1_000_000 for process in told["processes"])
        deleted = connection.request("/livez", method="DELETE")
        assert (deleted.status, deleted.header("allow")) == (405, "GET, HEAD")


def test_a_busy_address_is_refused_by_name_before_anything_starts(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = start("hello_asgi:app", "--admin", f"127.0.0.1:{port}", wait=False)
        assert running.wait_exit() == 75
        assert f"error: 127.0.0.1:{port} is in use by pid {os.getpid()}" in running.log
        assert "choose another address with --admin" in running.log


def test_a_reload_brings_moves_and_takes_it_away(start: Start, tmp_path: Path) -> None:
    settings = tmp_path / "prefork.toml"

    def write(admin: str) -> None:
        settings.write_text(f'app = "hello_asgi:app"\nsettle = 0\n{admin}\n')

    def reload(count: int) -> None:
        running.signal(signal.SIGHUP)
        running.wait_for_record("reloaded", count=count)

    write("")
    running = start()
    assert not running.find_role("admin")
    write('admin = "unix:admin.sock"')
    reload(1)
    path = str(tmp_path / "admin.sock")
    assert find_admin(running) == path
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o660
    wait_answer(path, "/readyz", (200, "ready"))
    write('admin = ["127.0.0.1:0"]')
    reload(2)
    moved = find_admin(running, count=2)
    wait_answer(moved, "/readyz", (200, "ready"))
    assert not Path(path).exists()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        write(f'admin = "127.0.0.1:{taken.getsockname()[1]}"')
        running.signal(signal.SIGHUP)
        wait_until(lambda: "reload refused" in running.log, "the refusal")
        assert ask(moved, "/readyz") == (200, "ready")
    write("admin = false")
    reload(3)
    wait_until(lambda: not running.find_role("admin"), "its end")
    wait_until(lambda: is_refused(moved), "nobody listening")
    wait_until(lambda: not running.find_zombies(), "the last of the old ones")


@needs_nobody
def test_it_is_the_workers_user_who_answers(open_folder: Path, start: Start) -> None:
    path = open_folder / "admin.sock"
    running = start(
        *("metered:app", "--user", NOBODY, "--admin", f"unix:{path}", "--workers", "2"),
        folder=open_folder,
        prefix=WAY or (),
    )
    nobody = pwd.getpwnam(NOBODY).pw_uid
    wait_answer(str(path), "/readyz", (200, "ready"))
    assert set(find_process(running).uids()) == {nobody}
    assert path.stat().st_uid == nobody
    assert running.get().status == 200
    assert read_metrics(str(path))["shop_plain_total"] == 1
    directory = find_metrics_dir(running)
    assert (directory.stat().st_uid, stat.S_IMODE(directory.stat().st_mode)) == (nobody, 0o700)
    assert running.stop() == 0
    assert not directory.exists()
