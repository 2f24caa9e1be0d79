"""Workers, zygotes and masters die, hang and loop: the service stays, the count comes back, nothing is left over."""

from __future__ import annotations

import random
import signal
import socket
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection, get
from tests.integration.load import Load
from tests.integration.running import assert_never_within, is_alive, wait_until
from tests.integration.test_signals import reload


def test_a_killed_worker_is_named_and_its_slot_filled(start: Start) -> None:
    running = start("pids:app", "--workers", "2")
    victim = running.workers[0]
    slot = running.find_records("worker ready", pid=victim.pid)[0].fields["slot"]

    victim.kill()

    told = running.wait_for_record("worker exited", pid=victim.pid)
    assert (told.fields["slot"], told.level) == (slot, "WARNING")
    assert "SIGKILL" in told.fields["how"] or "signal 9" in told.fields["how"]
    running.wait_for_record("worker ready", slot=slot, count=2)
    running.wait_workers(2)


def test_a_storm_of_kills_under_load_refuses_nobody_and_leaves_nothing(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "4")
    threads, kills = 4, 20
    descriptors = count_descriptors(running.master)

    with Load(running.address, threads=threads) as load:
        for number in range(kills):
            wait_until(lambda: running.ready_workers, "somebody to kill")
            victim = random.choice(running.ready_workers)
            victim.kill()
            running.wait_for_record("worker exited", pid=victim.pid)
            wait_until(lambda n=number: load.answered > n * 20, "some answers")  # type: ignore[misc]
        running.wait_workers(4)

    report = load.report
    assert (report.refused, report.wrong, report.late) == (0, 0, 0), report
    # Only what was inside a killed worker may be lost: at most one request per connection and kill.
    assert report.cut + report.reset <= kills * threads, report
    assert is_alive(running.master)
    assert running.find_zombies() == []
    assert count_descriptors(running.master) == descriptors


def test_reloads_and_kills_leak_no_descriptor_into_new_workers(start: Start) -> None:
    running = start("pids:app")
    before, master_before = running.get().json()["fds"], count_descriptors(running.master)

    for _ in range(3):
        reload(running)
        running.wait_workers(1)[0].kill()
        running.wait_for_record("worker exited")
        running.wait_workers(1)

    wait_until(lambda: len(running.zygotes) == 1, "the end of the old zygotes")
    assert running.get().json()["fds"] <= before
    wait_until(lambda: count_descriptors(running.master) == master_before, "as many descriptors as before")


def test_a_killed_zygote_costs_no_request_and_no_worker(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2")
    before = {worker.pid for worker in running.workers}

    with Load(running.address) as load:
        running.zygotes[0].kill()
        running.wait_for_record("zygote exited")
        wait_until(lambda: running.zygotes, "another zygote")
    assert load.report.lost == 0, load.report
    assert {worker.pid for worker in running.workers} == before

    running.workers[0].kill()
    running.wait_for_record("worker exited")
    running.wait_workers(2)


def test_a_killed_master_takes_everybody_with_it_and_frees_the_port(start: Start) -> None:
    running = start("sleepy:app", "--workers", "3")
    port = running.port
    assert len([*running.zygotes, *running.workers]) == 4
    with Connection(running.address) as in_flight:
        in_flight.send(b"GET /?s=0.5 HTTP/1.1\r\nHost: test\r\n\r\n")
        running.process.kill()
        assert in_flight.read_response().status == 200
    running.wait_exit()
    running.wait_gone(10)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))

    again = start("hello_asgi:app", bind=f"127.0.0.1:{port}")
    assert again.get().body == b"Hello, world!"


def test_a_killed_master_is_outlived_by_no_stuck_worker(start: Start) -> None:
    running = start("stuck:app", "--workers", "2")
    running.find_processes()
    with Connection(running.address) as connection:
        connection.send(b"GET /spin HTTP/1.1\r\nHost: test\r\n\r\n")
        running.process.kill()
        running.wait_exit()
        running.wait_gone(10)


def test_an_app_that_dies_young_is_started_again_ever_later(start: Start, tmp_path: Path) -> None:
    running = start("dies_young:app", "--workers", "4", wait=False, env={"LIVES_S": "0.3"})
    starts = tmp_path / "starts.txt"
    wait_until(starts.exists, "the first start")

    assert_never_within(lambda: len(starts.read_text().splitlines()) > 8, "more than 8 starts", 10)

    assert is_alive(running.master)
    cpu = running.master.cpu_times()
    assert cpu.user + cpu.system + cpu.children_user + cpu.children_system < 2


def test_one_broken_slot_fails_alone(start: Start) -> None:
    running = start(
        "dies_young:app",
        "--workers",
        "3",
        "--max-restarts",
        "2",
        wait=False,
        env={"DYING_SLOTS": "0", "LIVES_S": "0.1"},
    )
    running.wait_for_record("slot failed", slot=0, timeout_s=20)

    healthy = {running.find_records("worker ready", slot=slot)[0].fields["pid"] for slot in (1, 2)}
    assert {str(worker.pid) for worker in running.ready_workers} == healthy
    assert running.get().status == 200
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("path", "guilty"), [("/spin", "spin_for_ever"), ("/block", "block_in_c")], ids=["spinning", "blocking"]
)
def test_a_stuck_worker_shows_where_and_is_replaced(start: Start, path: str, guilty: str) -> None:
    running = start("stuck:app", "--workers", "2", "--timeout", "1s")
    before = {worker.pid for worker in running.workers}

    with Connection(running.address) as connection:
        connection.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        killed = running.wait_for_record("worker killed")
        running.wait_for_record("worker exited", pid=killed.fields["pid"])

    assert int(killed.fields["pid"]) in before
    assert guilty in running.log
    assert "stuck.py" in running.log
    after = {worker.pid for worker in running.wait_workers(2)}
    assert len(after & before) == 1


def test_a_stopped_worker_is_replaced(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--timeout", "1s")
    victim = running.workers[0]

    victim.suspend()

    running.wait_for_record("worker killed", pid=victim.pid)
    running.wait_workers(2)
    wait_until(lambda: not is_alive(victim), "its end")


def test_a_machine_that_slept_kills_nobody(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--timeout", "1s")
    before = {worker.pid for worker in running.workers}
    everybody = [running.master, *running.find_processes()]

    for process in everybody:
        process.suspend()
    assert_never_within(lambda: False, "", 2.5)  # they sleep through more than two timeouts
    for process in reversed(everybody):
        process.resume()

    running.wait_for_record("overslept")
    assert_never_within(lambda: running.find_records("worker killed"), "a kill", 2)
    assert {worker.pid for worker in running.wait_workers(2)} == before


def test_a_stopped_master_does_not_stop_the_service(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2")
    running.master.suspend()
    try:
        with Load(running.address, keep_alive=False) as load:
            wait_until(lambda: load.answered > 200, "200 answers")
    finally:
        running.master.resume()
    assert load.report.lost == 0, load.report


def test_a_worker_told_to_leave_is_replaced_and_drains(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2")
    victim = running.workers[0]

    with Load(running.address) as load:
        victim.send_signal(signal.SIGTERM)
        running.wait_for_record("worker exited", pid=victim.pid)
        running.wait_workers(2)
    assert load.report.lost == 0, load.report


@pytest.mark.parametrize(
    "redirection", ["2>&-", "2>/dev/full", "2> >(exit)"], ids=["closed", "full", "nobody reads"]
)
def test_a_log_that_takes_nothing_does_not_hurt(start: Start, tmp_path: Path, redirection: str) -> None:
    address = str(tmp_path / "s.sock")
    running = start(
        "pids:app",
        bind=f"unix:{address}",
        prefix=("bash", "-c", f'exec "$@" {redirection}', "bash"),
        wait=False,
    )

    first = wait_until(lambda: ask_pid(address), "an answer")
    psutil.Process(first).kill()
    wait_until(lambda: ask_pid(address) not in (None, first), "an answer of the successor")
    assert running.stop() == 0
    running.wait_gone()


def test_without_descriptors_it_waits_and_comes_back(start: Start) -> None:
    running = start("hello_asgi:app", prefix=("bash", "-c", 'ulimit -n 64; exec "$@"', "bash"))
    (worker,) = running.workers
    connections: list[Connection] = []
    for _ in range(100):
        with suppress(OSError):
            connections.append(Connection(running.address, 5))
    wait_until(lambda: count_descriptors(worker) >= 60, "a worker out of descriptors")
    cpu_before = sum(worker.cpu_times()[:2])
    assert_never_within(lambda: False, "", 1)  # the time over which its CPU is measured
    assert sum(worker.cpu_times()[:2]) - cpu_before < 0.5
    for connection in connections:
        connection.close()

    assert wait_until(lambda: get(running.address), "an answer").body == b"Hello, world!"
    assert running.workers == [worker]
    assert len(running.log.splitlines()) < 50


def ask_pid(address: str) -> int | None:
    with suppress(OSError):
        return int(get(address).json()["pid"])
    return None


def count_descriptors(process: psutil.Process) -> int:
    return int(process.num_fds())


@pytest.mark.parametrize(
    ("number", "limit_s"), [(signal.SIGTERM, 10.0), (signal.SIGINT, 3.5)], ids=["graceful", "quick"]
)
def test_a_stopped_zygote_keeps_nobody_from_stopping(
    start: Start, number: signal.Signals, limit_s: float
) -> None:
    running = start("pids:app", "--workers", "2")
    running.zygotes[0].suspend()

    running.signal(number)

    assert running.wait_exit(limit_s) == 0
    running.wait_gone()


def test_a_stopped_zygote_is_replaced_and_its_dead_worker_too(start: Start) -> None:
    running = start("pids:app", "--workers", "2")
    (zygote,) = running.zygotes
    zygote.suspend()

    running.workers[0].kill()

    running.wait_for_record("zygote given up")
    wait_until(lambda: not is_alive(zygote), "the stopped zygote's end")
    running.wait_workers(2)
    assert running.find_zombies() == []


def test_a_fork_at_import_leaves_no_copy_of_the_zygote(start: Start, tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text("import os\nos.fork()\nfrom pids import app\n")
    running = start("forks:app", "--workers", "1")
    running.wait_spare()
    wait_until(lambda: len(running.find_processes()) == 3, "one zygote, one worker and one spare")
    assert running.stop() == 0
    running.wait_gone()


def test_what_died_with_a_killed_worker_is_counted_in_the_log(start: Start, tmp_path: Path) -> None:
    running = start("held:app")
    with (
        Connection(running.address) as first,
        Connection(running.address) as second,
        Connection(running.address) as idle,
    ):
        assert idle.request("/").status == 200
        for connection in (first, second):
            connection.send(b"GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
            wait_until((tmp_path / "held").exists, "a request that is held")
            (tmp_path / "held").unlink()
        running.workers[0].kill()
        told = running.wait_for_record("worker exited", how="SIGKILL").fields
        assert (told["lost"], told["connections"]) == ("2", "3")
