"""Stop, scale, reload and reopen: what each signal to the master does, seen from outside."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection, get
from tests.integration.load import Load
from tests.integration.running import Running, assert_never_within, wait_until

QUICK_S = 3.0


def test_term_answers_what_is_in_flight_what_is_fresh_and_what_was_idle(start: Start) -> None:
    running = start("sleepy:app", "--workers", "2", "--keep-alive", "3")
    with (
        Connection(running.address) as in_flight,
        Connection(running.address) as fresh,
        Connection(running.address) as idle,
    ):
        assert idle.request("/").status == 200
        in_flight.send(b"GET /?s=1 HTTP/1.1\r\nHost: test\r\n\r\n")
        running.signal(signal.SIGTERM)
        running.wait_until_draining(2)

        late = [fresh.request("/"), idle.request("/")]
        slow = in_flight.read_response()

    assert [response.status for response in (*late, slow)] == [200] * 3
    assert all(response.says_close() for response in (*late, slow))
    assert running.wait_exit() == 0
    running.wait_gone()


def test_term_empties_the_accept_queue_before_it_closes(start: Start) -> None:
    running = start("sleepy:wsgi")  # one worker, inline: it answers one by one
    connections = [Connection(running.address) for _ in range(6)]
    for connection in connections:
        connection.send(b"GET /?s=0.2 HTTP/1.1\r\nHost: test\r\n\r\n")
    running.signal(signal.SIGTERM)

    assert [connection.read_response().status for connection in connections] == [200] * 6
    for connection in connections:
        connection.close()
    assert running.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_stop_quickly_whatever_handlers_do(start: Start, number: signal.Signals) -> None:
    running = start("sleepy:app", "--workers", "2")
    with Connection(running.address) as connection:
        connection.send(b"GET /?s=60 HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until_taken(running)
        running.signal(number)
        assert running.wait_exit(QUICK_S) == 0
    running.wait_gone()


def test_a_second_term_is_a_quick_stop(start: Start) -> None:
    running = start("sleepy:app")
    with Connection(running.address) as connection:
        connection.send(b"GET /?s=60 HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until_taken(running)
        running.signal(signal.SIGTERM)
        running.wait_for_record("stopping")
        running.signal(signal.SIGTERM)
        assert running.wait_exit(QUICK_S) == 0


def test_the_graceful_time_ends_a_stop_and_the_log_counts_what_was_lost(start: Start) -> None:
    running = start("sleepy:app", "--graceful-timeout", "1s")
    with Connection(running.address) as connection:
        connection.send(b"GET /?s=60 HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until_taken(running)
        assert running.stop(1 + QUICK_S) == 0
    assert [record.fields["lost"] for record in running.find_records("requests cut")] == ["1"]


def test_a_stuck_worker_does_not_keep_a_stop_from_ending(start: Start) -> None:
    running = start("stuck:app", "--graceful-timeout", "1s")
    with Connection(running.address) as connection:
        connection.send(b"GET /spin HTTP/1.1\r\nHost: test\r\n\r\n")
        assert running.stop(1 + 2 * QUICK_S) == 0
    assert "spin_for_ever" in running.log
    running.wait_gone()


def test_ttin_and_ttou_are_exact(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2")

    for step, (number, count) in enumerate(
        [
            (signal.SIGTTIN, 3),
            (signal.SIGTTIN, 4),
            (signal.SIGTTOU, 3),
            (signal.SIGTTOU, 2),
            (signal.SIGTTOU, 1),
        ],
        1,
    ):
        running.signal(number)
        running.wait_for_record("scale", count=step)
        running.wait_workers(count)
    running.signal(signal.SIGTTOU)
    running.wait_for_record("scale ignored")
    running.wait_workers(1)


def test_a_storm_of_scaling_never_ends_below_one_and_loses_nothing(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "3")

    with Load(running.address) as load:
        for number in (
            [signal.SIGTTOU] * 20 + [signal.SIGTTIN] * 5 + [signal.SIGTTOU] * 3 + [signal.SIGTTIN] * 8
        ):
            running.signal(number)
        running.signal(signal.SIGTTIN)
        scaled = wait_until(lambda: running.find_records("scale"), "scaling")
        # Pending signals of one kind merge (signal(7)), so the log says how many were heard.
        wait_until(
            lambda: len(running.find_records("scale")) == settle_count(running), "the last of the storm"
        )
        target = int(running.find_records("scale")[-1].fields["workers"])
        running.wait_workers(target)

    assert min(int(record.fields["workers"]) for record in scaled) >= 1
    assert load.report.lost == 0, load.report


def settle_count(running: Running) -> int:
    """How many scalings there are once none was added for a while."""
    count = -1
    while count != len(running.find_records("scale")):
        count = len(running.find_records("scale"))
        time.sleep(0.3)  # the only way to see that nothing more comes
    return count


def test_the_number_of_workers_survives_a_reload(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "1")
    running.signal(signal.SIGTTIN)
    running.wait_workers(2)

    reload(running)

    running.wait_workers(2)
    assert running.find_records("reloaded")[-1].fields["workers"] == "2"


def test_reloads_under_load_lose_nothing_and_end_with_the_new_code(start: Start, tmp_path: Path) -> None:
    write_version(tmp_path, 0)
    running = start("versioned:app", "--workers", "2")

    def is_a_version(response: object) -> bool:
        return getattr(response, "body", b"").startswith(b"version ")

    with (
        Load(running.address, is_a_version) as kept,
        Load(running.address, is_a_version, keep_alive=False) as fresh,
    ):
        for version in range(1, 4):
            write_version(tmp_path, version)
            reload(running)
            assert get(running.address).body == b"version %d" % version
        assert kept.answered
    assert (kept.report.lost, fresh.report.lost) == (0, 0), (kept.report, fresh.report)
    running.wait_workers(2)
    wait_until(lambda: len(running.zygotes) == 1, "the end of the old zygotes")


@pytest.mark.parametrize(
    "broken",
    [
        "def app(:",
        "raise SystemExit(3)",
        *(
            pytest.param(code, marks=pytest.mark.thorough)
            for code in ("import nothing_there", "1 / 0", "not_app = 1")
        ),
    ],
)
def test_a_reload_onto_broken_code_changes_nothing_and_the_next_good_one_works(
    start: Start, tmp_path: Path, broken: str
) -> None:
    write_version(tmp_path, 0)
    running = start("versioned:app", "--workers", "2")
    before = {worker.pid for worker in running.workers}

    with Load(running.address, b"version 0") as load:
        (tmp_path / "versioned.py").write_text(broken + "\n")
        shutil.rmtree(tmp_path / "__pycache__")
        running.signal(signal.SIGHUP)
        running.wait_for_record("reload failed")
        assert_never_within(lambda: load.report.lost, "a request was lost", 0.3)
    assert load.report.lost == 0, load.report
    assert {worker.pid for worker in running.wait_workers(2)} == before

    write_version(tmp_path, 1)
    reload(running)
    assert running.get().body == b"version 1"
    assert running.stop() == 0


def test_a_reload_onto_a_broken_startup_changes_nothing(start: Start, tmp_path: Path) -> None:
    write_version(tmp_path, 0)
    running = start("versioned:app", "--workers", "2")
    before = {worker.pid for worker in running.workers}

    (tmp_path / "versioned.py").write_text((tmp_path / "broken_lifespan.py").read_text())
    running.signal(signal.SIGHUP)
    running.wait_for_record("reload failed")

    assert {worker.pid for worker in running.wait_workers(2)} == before
    assert "no database" in running.log


def test_a_slow_import_leaves_no_gap(start: Start) -> None:
    running = start("slow_import:app", env={"IMPORT_S": "1"})

    with Load(running.address) as load:
        reload(running)
    assert load.report.lost == 0, load.report


def test_usr1_reopens_the_log(start: Start, tmp_path: Path) -> None:
    running = start("hello_asgi:app", "--log-file", "service.log", wait=False)
    log, rotated = tmp_path / "service.log", tmp_path / "service.log.1"
    wait_until(lambda: log.exists() and "serving" in log.read_text(), "the log file")

    log.rename(rotated)
    running.signal(signal.SIGUSR1)
    wait_until(lambda: log.exists() and "log reopened" in log.read_text(), "the new log file")

    assert running.stop() == 0
    assert "stopped" in log.read_text()
    assert "stopped" not in rotated.read_text()


def reload(running: Running) -> None:
    """HUP, and wait until all of it is done; until the last old worker is gone, it may still answer."""
    done = len(running.find_records("reloaded"))
    running.signal(signal.SIGHUP)
    told = running.wait_for_record("reloaded", count=done + 1)
    running.wait_workers(int(told.fields["workers"]))


def write_version(folder: Path, number: int) -> None:
    # Bytecode is told apart by the second and the size of its source, and we write twice in one.
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    (folder / "versioned.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        f"    return [b'version {number}']\n"
    )


def wait_until_taken(running: Running) -> None:
    """A worker has accepted: its side of the connection is a socket more than it had."""
    port = running.port
    wait_until(
        lambda: any(
            connection.status == "ESTABLISHED" and connection.laddr.port == port
            for worker in running.workers
            for connection in worker.net_connections("tcp")
        ),
        "an accepted connection",
    )


def test_winch_drains_everyone_and_the_listener_waits_for_the_next_reload(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2")
    running.signal(signal.SIGWINCH)
    wait_until(lambda: not running.workers, "every worker gone")
    with Connection(running.address) as waiting:
        waiting.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        running.signal(signal.SIGHUP)
        assert waiting.read_response().status == 200
    running.wait_workers(2)


def test_a_window_that_changes_its_size_drains_nobody(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2", terminal=True)
    for _ in range(3):
        running.signal(signal.SIGWINCH)
        running.signal(signal.SIGUSR1)
        running.wait_for_record("no log file to reopen")
    assert not running.find_records("draining all workers")


def test_a_stop_with_a_delay_accepts_until_it_is_over(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--shutdown-delay", "1s")
    begun = time.monotonic()
    running.signal(signal.SIGTERM)
    running.wait_for_record("stopping")
    assert running.get().status == 200
    assert running.wait_exit() == 0
    assert time.monotonic() - begun >= 1
