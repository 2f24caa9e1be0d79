"""The worker forked before it is needed: it takes the place of one that died, and is in nobody's way before."""

from __future__ import annotations

import random
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.load import Load
from tests.integration.running import Running, is_alive, read_parent, wait_until
from tests.integration.test_crashes import count_descriptors
from tests.integration.test_signals import reload


def test_the_successor_of_a_dead_worker_is_the_spare(start: Start) -> None:
    running = start("forked:app", "--workers", "1")
    (first,) = running.workers
    told_by_first = ask(running)
    spare = running.wait_spare()

    first.kill()

    running.wait_for_record("worker ready", pid=spare.pid)
    told = ask(running)
    assert told.pop("random") != told_by_first.pop("random")
    assert told == {
        "pid": spare.pid,
        "said_pid": spare.pid,
        "slot": 0,
        "variable": "0",
        "forked_in": [spare.pid],
    }
    assert told.keys() == told_by_first.keys()
    assert running.wait_spare() != spare


def test_a_storm_of_kills_among_workers_and_spares_leaves_nothing(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "3")
    threads, kills = 2, 15
    descriptors = count_descriptors(running.master)

    with Load(running.address, threads=threads) as load:
        for number in range(kills):
            ready = wait_until(lambda: running.ready_workers, "somebody to kill")
            if number % 3 == 0:
                running.wait_spare()  # so that it is there, and killed, in every third round
            exited = len(running.find_records("worker exited"))
            for victim in [*running.spares, random.choice(ready)]:
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(random.choice([signal.SIGKILL, signal.SIGSTOP]))
                    victim.kill()
            running.wait_for_record("worker exited", count=exited + 1)
        running.wait_workers(3)
        running.wait_spare()

    report = load.report
    assert (report.refused, report.wrong, report.late) == (0, 0, 0), report
    assert report.cut + report.reset <= kills * threads, report
    assert running.find_zombies() == []
    assert count_descriptors(running.master) == descriptors
    assert running.stop() == 0
    running.wait_gone()


@pytest.mark.parametrize("stopped", [False, True], ids=["waiting", "stopped"])
def test_a_killed_master_takes_the_spare_with_it(start: Start, stopped: bool) -> None:
    running = start("hello_asgi:app", "--workers", "2")
    port, spare = running.port, running.wait_spare()
    if stopped:
        spare.suspend()

    running.process.kill()

    running.wait_exit()
    wait_until(lambda: not is_alive(spare), "the spare's end")
    running.wait_gone(10)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_killed_zygote_takes_the_spare_with_it_and_its_successor_makes_its_own(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "1")
    spare = running.wait_spare()
    (zygote,) = running.zygotes

    zygote.kill()

    wait_until(lambda: not is_alive(spare), "the spare's end")
    wait_until(lambda: running.zygotes, "another zygote")
    for _ in range(2):
        (worker,) = running.wait_workers(1)
        worker.kill()
        running.wait_for_record("worker exited", pid=worker.pid)
    running.wait_workers(1)
    assert read_parent(running.wait_spare()) == running.zygotes[0].pid
    assert running.find_zombies() == []


def test_a_reload_ends_the_old_spare_although_an_old_worker_still_drains(start: Start) -> None:
    running = start("sleepy:app", "--workers", "1")
    (old_zygote,) = running.zygotes
    spare = running.wait_spare()

    with Connection(running.address) as in_flight:
        in_flight.send(b"GET /?s=3 HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until(lambda: running.workers, "the worker")
        reload_without_waiting(running)
        wait_until(lambda: not is_alive(spare), "the old spare's end")
        assert is_alive(old_zygote)
        assert in_flight.read_response().status == 200
    wait_until(lambda: not is_alive(old_zygote), "the old zygote's end")
    assert read_parent(running.wait_spare()) == running.zygotes[0].pid


def test_reloads_leave_one_spare(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2")
    for _ in range(3):
        reload(running)
    wait_until(lambda: len(running.zygotes) == 1, "the end of the old zygotes")
    assert read_parent(running.wait_spare()) == running.zygotes[0].pid
    assert running.find_zombies() == []
    assert running.stop() == 0
    running.wait_gone()


def test_a_spare_costs_no_time_while_it_waits(start: Start) -> None:
    running = start("hello_asgi:app")
    spare = running.wait_spare()
    switches = spare.num_ctx_switches().voluntary
    with Load(running.address) as load:
        wait_until(lambda: load.answered > 500, "500 answers")
    assert spare.num_ctx_switches().voluntary == switches


def test_the_successor_writes_to_the_new_log(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    running = start("hello_asgi:app", "--log-file", str(log), wait=False)
    wait_until(lambda: running.workers and running.wait_spare(), "a spare")
    spare = running.wait_spare()
    log.rename(tmp_path / "yesterday.log")

    running.signal(signal.SIGUSR1)

    wait_until(lambda: not is_alive(spare), "the old spare's end")
    successor = running.wait_spare()
    running.workers[0].kill()
    wait_until(lambda: running.ready_workers == [successor], "the successor")
    assert str(log) in [str(fd.readlink()) for fd in Path(f"/proc/{successor.pid}/fd").iterdir()]


def ask(running: Running) -> dict[str, Any]:
    told: dict[str, Any] = running.get().json()
    return told


def reload_without_waiting(running: Running) -> None:
    running.signal(signal.SIGHUP)
    running.wait_for_record("worker ready", gen=2)
