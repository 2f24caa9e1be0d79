"""`--balance round-robin`, `least-connections`, `ip-hash`: who gets the connections, and none is lost on the way."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from prefork.serve.proxy_protocol import SIGNATURE
from tests.integration.conftest import Start
from tests.integration.http_client import Address, Connection, get
from tests.integration.load import Load, MixedLoad
from tests.integration.running import Running, wait_until

EVEN = 1.05
"""Of 64 connections to 4 or 16 workers that is exact: the master gives them, so nobody is quicker to take one."""
AT_ONCE = ("--settle", "0")
STRATEGIES = ("round-robin", "least-connections", "ip-hash")
every_strategy = pytest.mark.parametrize("balance", STRATEGIES)
even_ones = pytest.mark.parametrize("balance", STRATEGIES[:2])
both_loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def ask(address: Address, source: str = "") -> str:
    """The slot that answers a connection of its own."""
    if not source:
        return get(address).body.decode()
    assert isinstance(address, tuple)
    with Connection(address) as connection:
        connection.sock.close()
        connection.sock = socket.create_connection(address, 10, source_address=(source, 0))
        return connection.request().body.decode()


def find_skew(count: Callable[[], Counter[str]], workers: int) -> float:
    """Busiest of mean; the best of three, for on a busy machine a worker may be late for its turn."""
    skew = float("inf")
    for _ in range(3):
        slots = count()
        if (skew := min(skew, max(slots.values()) / (sum(slots.values()) / workers))) <= EVEN:
            break
    return skew


def list_fds(process: psutil.Process) -> list[int]:
    return [int(entry.name) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]


def count_fds(process: psutil.Process) -> int:
    return len(list_fds(process))


@even_ones
@pytest.mark.parametrize("workers", [4, 16])
def test_connections_are_spread_evenly_however_they_come(start: Start, balance: str, workers: int) -> None:
    running = start("handed:app", "--workers", str(workers), "--balance", balance)
    for _ in range(workers):  # what the loops open with their first connection
        ask(running.address)
    idle = count_worker_fds(running)

    def open_and_keep() -> Counter[str]:
        with ExitStack() as opened:
            kept = [opened.enter_context(Connection(running.address)) for _ in range(64)]
            slots = Counter(connection.request().body.decode() for connection in kept)
        wait_until(lambda: count_worker_fds(running) <= idle, "the end of every connection")
        return slots

    def come_in_bursts() -> Counter[str]:
        slots = Counter[str]()
        for _ in range(20):
            with ExitStack() as opened:
                burst = [opened.enter_context(Connection(running.address)) for _ in range(50)]
                for connection in burst:
                    connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                slots.update(connection.read_response().body.decode() for connection in burst)
            wait_until(lambda: count_worker_fds(running) <= idle, "the end of every connection")
        return slots

    assert find_skew(open_and_keep, workers) <= EVEN
    assert find_skew(lambda: Counter(ask(running.address) for _ in range(400)), workers) <= EVEN
    assert find_skew(come_in_bursts, workers) <= EVEN


def count_worker_fds(running: Running) -> int:
    return sum(count_fds(worker) for worker in running.ready_workers)


@both_loops
def test_workers_that_die_with_what_they_were_just_handed_lose_nothing(
    start: Start, tmp_path: Path, loop: str
) -> None:
    """Killed between the master's accept and their acknowledgement, 100 times with each loop."""
    # A min-uptime of nothing: each successor comes at once.
    options = ("--workers", "2", "--balance", "round-robin", "--min-uptime", "0", "--loop", loop)
    running = start("handed:app", *options, env={"HANDED": "die"})
    killed = tmp_path / "killed"

    with Load(running.address, b"1", threads=4, keep_alive=False) as load:
        wait_until(lambda: killed.exists() and killed.stat().st_size >= 100, "100 kills", timeout_s=50)

    assert load.report.lost == 0, load.report
    running.wait_workers(2)
    assert load.report.ok >= 100


def test_a_stopped_workers_connections_are_answered_by_others_and_never_twice(start: Start) -> None:
    running = start("handed:app", "--workers", "3", "--balance", "round-robin", "--timeout", "60")
    stopped = next(worker for worker in running.ready_workers if " slot=1 " in " ".join(worker.cmdline()))
    stopped.suspend()
    try:
        with ExitStack() as opened:
            asked = [opened.enter_context(Connection(running.address)) for _ in range(30)]
            for connection in asked:
                connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            slots = Counter(connection.read_response().body.decode() for connection in asked)
            assert set(slots) == {"0", "2"}
            # And by then nothing is given to it any more: nobody waits for anything.
            began = time.monotonic()
            assert {ask(running.address) for _ in range(30)} == {"0", "2"}
            assert time.monotonic() - began < 3
            stopped.resume()
            # It wakes, and finds nothing that it could serve: each of these connections still has one server.
            wait_until(lambda: ask(running.address) == "1", "an answer of the one that was stopped")
            assert [connection.request().body.decode() for connection in asked].count("1") == 0
    finally:
        stopped.resume()
    assert running.find_records("worker condemned") == []


def test_a_worker_that_never_acknowledges_is_replaced_and_its_connections_answered(start: Start) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "round-robin", env={"HANDED": "mute"})
    with ExitStack() as opened:
        asked = [opened.enter_context(Connection(running.address, 20)) for _ in range(6)]
        for connection in asked:
            connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert {connection.read_response().status for connection in asked} == {200}
    condemned = running.wait_for_record("worker condemned")
    assert "does not take the connections" in condemned.line


@every_strategy
@both_loops
def test_reloads_scaling_and_a_stop_under_load_lose_nothing(start: Start, balance: str, loop: str) -> None:
    running = start("echoes:app", "--workers", "3", "--balance", balance, "--loop", loop, *AT_ONCE)
    with MixedLoad(running.address) as load:
        for count, number in enumerate(
            (signal.SIGHUP, signal.SIGTTIN, signal.SIGHUP, signal.SIGTTOU, signal.SIGHUP)
        ):
            running.signal(number)
            if number is signal.SIGHUP:
                running.wait_for_record("reloaded", count=count // 2 + 1)
            else:
                running.wait_for_record("scale", count=count // 2 + 1)
            answered = load.answered
            wait_until(lambda: load.answered > answered, "answers of every kind")  # noqa: B023 at once
        running.wait_workers(3)
    assert load.report.lost == 0, load.report
    assert running.stop() == 0


@pytest.mark.parametrize("balance", ["round-robin", "least-connections"])
def test_a_stop_answers_what_waits_and_what_is_on_its_way(start: Start, balance: str) -> None:
    running = start("handed:app", "--workers", "2", "--balance", balance)
    with ExitStack() as opened:
        asked = [opened.enter_context(Connection(running.address)) for _ in range(150)]
        for connection in asked:
            connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        running.signal(signal.SIGTERM)
        assert {connection.read_response().status for connection in asked} == {200}
    assert running.wait_exit() == 0


def test_shared_and_handed_over_change_places_by_a_reload_and_lose_nothing(
    start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "prefork.toml"
    config.write_text('app = "echoes:app"\nworkers = 3\nsettle = 0\nbalance = "shared"\n')
    running = start()
    with MixedLoad(running.address) as load:
        for number, balance in enumerate(
            ("round-robin", "shared", "ip-hash", "least-connections", "shared"), 1
        ):
            config.write_text(config.read_text().rpartition("balance")[0] + f'balance = "{balance}"\n')
            running.signal(signal.SIGHUP)
            running.wait_for_record("reloaded", count=number)
            answered = load.answered
            wait_until(lambda: load.answered > answered, "answers of every kind")  # noqa: B023 at once
    assert load.report.lost == 0, load.report


def test_listeners_come_and_go_by_a_reload_and_whoever_connected_is_answered(
    start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "prefork.toml"
    paths = [str(tmp_path / f"{number}.sock") for number in range(3)]

    def write(*binds: str) -> None:
        bind = [f"unix:{path}" for path in binds]
        rest = 'app = "handed:app"\nworkers = 2\nsettle = 0\nbalance = "round-robin"\n'
        config.write_text(f"{rest}bind = {bind}\n")

    write(paths[0], paths[1])
    running = start(bind=None)
    with Load(paths[0], lambda response: response.body in {b"0", b"1"}, keep_alive=False) as load:
        write(paths[0], paths[2])
        running.signal(signal.SIGHUP)
        running.wait_for_record("reloaded")
        # The load's connections take turns with ours, so that it may be the same worker's turn for several of ours.
        for slot in ("0", "1"):
            wait_until(lambda: ask(paths[2]) == slot, "an answer of each worker")  # noqa: B023 at once
        wait_until(lambda: not Path(paths[1]).exists(), "the end of the listener that was left")
    assert load.report.lost == 0, load.report


def test_a_burst_of_one_address_stays_together(start: Start) -> None:
    running = start("handed:app", "--workers", "4", "--balance", "ip-hash")
    with ExitStack() as opened:
        burst = [opened.enter_context(Connection(running.address)) for _ in range(200)]
        assert len({connection.request().body for connection in burst}) == 1


def test_an_address_keeps_its_slot_across_a_reload_and_a_fifth_worker_takes_a_fifth(start: Start) -> None:
    running = start("handed:app", "--workers", "4", "--balance", "ip-hash", *AT_ONCE)
    clients = [f"127.0.{number}.{number * 37 % 250 + 1}" for number in range(120)]
    before = [ask(running.address, client) for client in clients]
    assert len(set(before)) == 4
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    assert [ask(running.address, client) for client in clients] == before
    running.signal(signal.SIGTTIN)
    running.wait_workers(5)
    after = [ask(running.address, client) for client in clients]
    moved = [new for old, new in zip(before, after, strict=True) if new != old]
    assert set(moved) == {"4"}
    assert len(moved) <= 0.3 * len(clients)


PROXIED = ("slots:handler", "--workers", "4", "--balance", "ip-hash", "--proxy-protocol")


def introduce(client: str, version: int = 1) -> bytes:
    """A proxy's header, which says that it speaks for this client."""
    if version == 1:
        return f"PROXY TCP4 {client} 198.51.100.2 56324 443\r\n".encode()
    return (
        SIGNATURE + b"\x21\x11\0\x0c" + socket.inet_aton(client) + socket.inet_aton("198.51.100.2") + bytes(4)
    )


def ask_slot(running: Running, *said: bytes, source: str = "127.0.0.1") -> str:
    """The slot that answers who says this, piece by piece; empty if it is closed."""
    address = ("127.0.0.1", running.port)
    with socket.create_connection(address, 10, source_address=(source, 0)) as client:
        for piece in said:
            client.sendall(piece)
            threading.Event().wait(0.02 if len(said) > 1 else 0)  # each piece is a packet of its own
        return client.recv(1).decode()


def test_behind_a_proxy_the_address_is_its_clients_and_a_strangers_header_does_not_count(
    start: Start,
) -> None:
    running = start(*PROXIED)
    clients = [f"203.0.113.{number}" for number in range(40)]
    slots = [ask_slot(running, introduce(client)) for client in clients]
    assert set(slots) == {"0", "1", "2", "3"}
    assert [ask_slot(running, introduce(client, version=2)) for client in clients] == slots
    in_pieces = [ask_slot(running, introduce(client)[:20], introduce(client)[20:]) for client in clients[:8]]
    assert in_pieces == slots[:8]
    assert {ask_slot(running, introduce(client), source="127.0.0.2") for client in clients} == {
        ask_slot(running, source="127.0.0.2")
    }


def test_a_proxy_that_does_not_say_for_whom_it_speaks_holds_nobody_up(start: Start) -> None:
    running = start(*PROXIED)
    its_own = ask_slot(running, b"PROXY UNKNOWN\r\n")
    fds = count_fds(running.master)
    with ExitStack() as opened:
        silent = [
            opened.enter_context(socket.create_connection(("127.0.0.1", running.port), 10))
            for _ in range(300)
        ]
        for client in silent[::2]:
            client.sendall(introduce("203.0.113.7")[:30])
        slot = ask_slot(running, introduce("203.0.113.9"))
        assert ask_slot(running, introduce("203.0.113.9")) == slot
        assert ask_slot(running, b"no header at all\r\n") == ""
        wait_until(lambda: count_fds(running.master) <= fds, "the end of the master's patience")
        for number, client in enumerate(silent):
            client.sendall(introduce("203.0.113.7")[0 if number % 2 else 30 :])
        assert {client.recv(1).decode() for client in silent} == {its_own}
    with socket.create_connection(("127.0.0.1", running.port), 10) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    wait_until(lambda: count_fds(running.master) <= fds, "no descriptor more than before")
    assert running.stop() == 0


@both_loops
@pytest.mark.parametrize(
    ("app", "said"), [("lines_stream:handler", b"HELLO\n"), ("lines_protocol:Reverse", b"\nolleh")]
)
def test_stream_and_protocol_apps_are_handed_theirs(start: Start, loop: str, app: str, said: bytes) -> None:
    running = start(app, "--workers", "2", "--balance", "round-robin", "--loop", loop)
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", running.port), 10) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == said


def test_a_unix_sockets_clients_are_served_in_turn_by_ip_hash(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    running = start("handed:app", "--workers", "3", "--balance", "ip-hash", bind=f"unix:{path}")
    assert Counter(ask(path) for _ in range(9)) == {"0": 3, "1": 3, "2": 3}
    assert running.stop() == 0


def test_without_workers_connections_wait_in_the_backlog_and_are_answered_when_they_are_back(
    start: Start,
) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "round-robin")
    running.signal(signal.SIGWINCH)
    running.wait_for_record("worker exited", count=2)
    fds = count_fds(running.master)
    with ExitStack() as opened:
        asked = [opened.enter_context(Connection(running.address, 20)) for _ in range(20)]
        for connection in asked:
            connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert count_fds(running.master) == fds, "the kernel's backlog is the only queue"
        running.signal(signal.SIGHUP)
        assert {connection.read_response().status for connection in asked} == {200}


def test_a_master_that_dies_leaves_nobody_unanswered(start: Start) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "round-robin")
    with ExitStack() as opened:
        kept = [opened.enter_context(Connection(running.address)) for _ in range(4)]
        for connection in kept:
            connection.request()
        running.wait_workers(2)
        running.master.suspend()
        waiting = [opened.enter_context(Connection(running.address)) for _ in range(10)]
        for connection in [*kept, *waiting]:
            connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        running.signal(signal.SIGKILL)
        assert {connection.read_response().status for connection in [*kept, *waiting]} == {200}
    running.wait_exit()
    running.wait_gone()


def test_shutdown_delay_goes_on_handing_over(start: Start) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "round-robin", "--shutdown-delay", "1")
    running.signal(signal.SIGTERM)
    running.wait_for_record("stopping")
    assert {ask(running.address) for _ in range(4)} == {"0", "1"}
    assert running.wait_exit() == 0


@contextmanager
def limited_to(process: psutil.Process, descriptors: int) -> Iterator[None]:
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (descriptors, before[1]))
    yield
    process.rlimit(psutil.RLIMIT_NOFILE, before)


def test_a_master_without_descriptors_waits_and_says_so_once(start: Start) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "round-robin")
    with ExitStack() as opened:
        with limited_to(running.master, max(list_fds(running.master)) + 1):
            asked = [opened.enter_context(Connection(running.address)) for _ in range(20)]
            for connection in asked:
                connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            running.wait_for_record("cannot accept: Too many open files")
        assert {connection.read_response().status for connection in asked} == {200}
    assert len(running.find_records("cannot accept: Too many open files")) == 1


def test_a_worker_without_descriptors_gives_back_what_it_has_no_room_for(start: Start) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "round-robin")
    poor = running.ready_workers[0]
    with limited_to(poor, max(list_fds(poor)) + 3), ExitStack() as opened:
        asked = [opened.enter_context(Connection(running.address)) for _ in range(40)]
        for connection in asked:
            connection.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert {connection.read_response().status for connection in asked} == {200}
    assert running.find_records("cannot take connections: too many open files")


@every_strategy
def test_nothing_leaks(start: Start, balance: str) -> None:
    running = start("handed:app", "--workers", "2", "--balance", balance)
    for _ in range(4):  # what the loops open with their first connection
        ask(running.address)
    processes = [running.master, *running.ready_workers]
    before = [count_fds(process) for process in processes]
    for _ in range(200):
        ask(running.address)
    # No more than: what was counted before may include the last of those four on its way out.
    wait_until(
        lambda: all(count_fds(process) <= count for process, count in zip(processes, before, strict=True)),
        "no more descriptors than before",
    )
    cpu = sum(running.master.cpu_times()[:2])
    threading.Event().wait(1.0)
    assert sum(running.master.cpu_times()[:2]) - cpu < 0.05, "idle is idle"
