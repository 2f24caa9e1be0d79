"""WebSockets and the life of the service: reloads and stops close them politely, lose nothing, and wait if asked to."""

from __future__ import annotations

import json
import resource
import selectors
import signal
import socket
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from tests.certificates import make_client_context, write_files
from tests.integration.conftest import Start
from tests.integration.running import Running, wait_until
from tests.integration.test_draining import Way, drain

AT_ONCE = ("--settle", "0")
DEADLINE_S = 15.0
MANY = 1000
KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"
OPENING = f"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{KEY}\r\n".encode()
RESTART = b"\x88\x11\x03\xf4service restart"
ANSWER = b"\x88\x82\0\0\0\0\x03\xf4"


def open_socket(running: Running) -> ClientConnection:
    url = f"ws://127.0.0.1:{running.port}/"
    # Entered at once: that is how the package wants it, and a test of many clients has no use for as many blocks.
    return connect(url, ping_interval=None, close_timeout=DEADLINE_S).__enter__()


def ask(client: ClientConnection, text: str) -> int:
    """Have a message echoed; returns the pid that did it."""
    client.send(text)
    answer = client.recv(timeout=DEADLINE_S)
    assert isinstance(answer, str)
    pid, _, echoed = answer.partition(" ")
    assert echoed == text
    return int(pid)


def wait_closed(client: ClientConnection) -> tuple[int, str]:
    """The code and the reason of the server's Close; 1006 if the connection just ended."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=DEADLINE_S)
    received = caught.value.rcvd
    return (received.code, received.reason) if received else (1006, "")


def read_received(running: Running) -> list[str]:
    path = running.folder / "received.txt"
    return path.read_text().splitlines() if path.exists() else []


class Talker:
    """A client that talks without a pause, comes back whenever it is sent away with 1012, and keeps the books."""

    def __init__(self, running: Running, name: str) -> None:
        self._running = running
        self._name = name
        self.sent: list[str] = []
        self.echoed = 0
        self.returns = 0
        self.failures: list[str] = []
        self._may_stop = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._may_stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _talk(self) -> None:
        try:
            while not self._may_stop.is_set():
                self._talk_once()
        except (OSError, InvalidHandshake, TimeoutError) as error:
            self.failures.append(repr(error))

    def _talk_once(self) -> None:
        client = open_socket(self._running)
        try:
            while not self._may_stop.is_set():
                text = f"{self._name} {len(self.sent)}"
                client.send(text)
                self.sent.append(text)
                answer = client.recv(timeout=DEADLINE_S)
                if str(answer).split(" ", 1)[1] != text:
                    self.failures.append(f"{answer!r} instead of {text}")
                self.echoed += 1
            client.close()
        except ConnectionClosed as closed:
            self.returns += 1
            if closed.rcvd is None or closed.rcvd.code != 1012 or not closed.sent:
                self.failures.append(repr(closed))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_reloads_send_talking_clients_away_with_1012_and_lose_no_message(start: Start, loop: str) -> None:
    running = start("sockets:app", "--workers", "2", "--loop", loop, *AT_ONCE)
    talkers = [Talker(running, f"t{number}") for number in range(6)]
    for number in range(1, 4):
        # Whoever has not connected yet would come to a new worker, and never be sent away.
        echoed = [talker.echoed for talker in talkers]
        wait_until(
            lambda: all(talker.echoed > was for talker, was in zip(talkers, echoed, strict=True)),  # noqa: B023 at once
            "every client's talk",
        )
        before = [talker.returns for talker in talkers]
        running.signal(signal.SIGHUP)
        running.wait_for_record("reloaded", count=number)
        wait_until(lambda: len(running.find_role("worker", "draining")) == 0, "the end of the old workers")
        wait_until(
            lambda: all(talker.returns > was for talker, was in zip(talkers, before, strict=True)),  # noqa: B023 at once
            "every client's return",
        )
    for talker in talkers:
        talker.stop()
    assert [failure for talker in talkers for failure in talker.failures] == []
    received = read_received(running)
    for talker in talkers:
        name = talker.sent[0].split()[0]
        assert [line for line in received if line.startswith(f"{name} ")] == talker.sent
        # Closed at a quiet moment, if there is one: next to nothing crosses with the Close.
        assert len(talker.sent) - talker.echoed <= talker.returns
    assert running.complaints == []
    assert running.stop() == 0


@pytest.mark.parametrize("way", ["reload", "scale down", "stop", "one worker"])
def test_every_way_of_draining_closes_idle_sockets_with_1012(start: Start, way: Way) -> None:
    running = start("sockets:app", "--workers", "2", *AT_ONCE)
    by_pid: dict[int, list[ClientConnection]] = {worker.pid: [] for worker in running.workers}
    while not all(by_pid.values()):
        client = open_socket(running)
        by_pid[ask(client, "hello")].append(client)
    drained = drain(running, way)
    closed = {wait_closed(client) for pid in drained for client in by_pid[pid]}
    assert closed == {(1012, "service restart")}
    ended = ["end 1012 service restart" for pid in drained for _ in by_pid[pid]]
    for pid in drained:
        running.wait_for_record("worker exited", pid=pid, how="exit 0")
    assert [line for line in read_received(running) if line.startswith("end")] == ended
    for pid in by_pid.keys() - drained:
        for client in by_pid[pid]:
            assert ask(client, "still here") == pid
            client.close()
    if way == "stop":
        assert running.wait_exit() == 0


def test_with_wait_a_socket_outlives_the_reload_and_the_old_worker_then_ends(start: Start) -> None:
    running = start("sockets:app", "--workers", "1", "--drain-websockets", "wait", *AT_ONCE)
    old, newer = open_socket(running), open_socket(running)
    pid = ask(old, "a")
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    running.wait_until_draining(1)
    with closing(open_socket(running)) as fresh:
        assert ask(fresh, "b") != pid
        assert [ask(client, "c") for client in (old, newer)] == [pid, pid]
        old.close()
        assert ask(newer, "d") == pid
        newer.close()
        running.wait_for_record("worker exited", pid=pid, how="exit 0")
        ask(fresh, "e")
    assert running.stop() == 0


def test_with_wait_the_graceful_timeout_cuts_and_the_log_tells(start: Start) -> None:
    running = start("sockets:app", "--workers", "1", "--drain-websockets", "wait", "--graceful-timeout", "1s")
    client = open_socket(running)
    ask(client, "hello")
    running.signal(signal.SIGTERM)
    assert wait_closed(client) == (1012, "service restart")
    assert running.wait_exit() == 0
    assert [record.fields["connections"] for record in running.find_records("WebSockets cut")] == ["1"]
    assert running.find_records("requests lost") == []
    assert read_received(running) == ["hello", "end 1012 service restart"]


def test_a_killed_worker_s_sockets_are_told_as_connections_that_died(start: Start) -> None:
    running = start("sockets:app", "--workers", "1")
    client = open_socket(running)
    psutil.Process(ask(client, "hello")).kill()
    assert wait_closed(client) == (1006, "")
    record = running.wait_for_record("worker exited", how="SIGKILL")
    assert (record.fields["connections"], record.fields["lost"]) == ("1", "0")
    running.wait_workers(1)
    with closing(open_socket(running)) as again:
        ask(again, "again")


def test_no_process_has_imported_the_package_before_the_first_handshake(start: Start) -> None:
    running = start("sockets:app", "--workers", "1")
    (worker,) = running.workers
    assert running.get().body == b"%d" % worker.pid

    def has_loaded(process: psutil.Process) -> bool:
        # The compiled part is mapped by whoever has imported it.
        return any("websockets/speedups" in mapped.path for mapped in process.memory_maps())

    assert [
        process.pid for process in [running.master, *running.find_processes()] if has_loaded(process)
    ] == []
    with closing(open_socket(running)) as client:
        ask(client, "hello")
        assert has_loaded(worker)


# A thousand at once.


def open_many(running: Running, count: int) -> list[socket.socket]:
    sockets = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", running.port), DEADLINE_S)
        sock.sendall(OPENING)
        sockets.append(sock)
    for sock in sockets:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
    return sockets


def answer_closes(sockets: list[socket.socket]) -> list[float]:
    """Answer every Close as it comes, see every connection end; returns when each Close came."""
    selector = selectors.DefaultSelector()
    received = dict.fromkeys(sockets, b"")
    times = []
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ, sock)
    deadline = time.monotonic() + DEADLINE_S
    while received:
        assert time.monotonic() < deadline, f"{len(received)} sockets are still open"
        for key, _ in selector.select(1.0):
            sock = key.data
            data = sock.recv(4096)
            if data:
                received[sock] += data
                if received[sock] == RESTART:
                    times.append(time.monotonic())
                    sock.sendall(ANSWER)
            else:
                assert received.pop(sock) == RESTART
                selector.unregister(sock)
                sock.close()
    return times


@pytest.mark.timeout(90)
def test_a_thousand_idle_sockets_cost_little_and_are_closed_over_a_while(start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        running = start("sockets:app", "--workers", "1", *AT_ONCE)
        (worker,) = running.workers
        first = open_many(running, 50)
        before = worker.memory_full_info().uss
        sockets = open_many(running, MANY)
        each_bytes = (worker.memory_full_info().uss - before) / MANY
        assert each_bytes < 24_000, each_bytes
        running.signal(signal.SIGHUP)
        times = answer_closes([*first, *sockets])
        assert 1.0 < max(times) - min(times) < 6.0
        running.wait_for_record("worker exited", pid=worker.pid, how="exit 0")
        assert running.stop() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_admin_who_quits_leaves_no_socket_hanging(start: Start) -> None:
    running = start("sockets:app", "--workers", "1")
    client = open_socket(running)
    ask(client, "hello")
    running.signal(signal.SIGINT)
    assert wait_closed(client) == (1012, "service restart")
    assert running.wait_exit(3.0) == 0
    with suppress(ConnectionClosed):
        client.close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("balance", ["shared", "round-robin"])
def test_over_tls_behind_a_proxy_it_is_one_line_with_its_client_and_its_id(
    start: Start, tmp_path: Path, loop: str, balance: str
) -> None:
    files, log = write_files(tmp_path), tmp_path / "access.log"
    options = ("--certfile", str(files.both), "--request-id", "--access-log", str(log))
    style = "%(h)s %(m)s %(U)s %(s)s %(id)s"
    running = start("sockets", *options, "--access-log-format", style, "--loop", loop, "--balance", balance)
    url = f"wss://127.0.0.1:{running.port}/whose"
    with connect(
        url, ssl=make_client_context(), additional_headers={"X-Forwarded-For": "192.0.2.9"}
    ) as client:
        assert json.loads(client.recv(timeout=DEADLINE_S)) == ["wss", ["192.0.2.9", 0], True]
        assert wait_closed(client) == (1000, "")
        assert client.response is not None
        request_id = client.response.headers["X-Request-ID"]
    assert running.stop() == 0
    assert log.read_text() == f"192.0.2.9 GET /whose 101 {request_id}\n"
