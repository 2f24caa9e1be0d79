"""Every kind of app, every kind of address, and the process list as it is drawn."""

from __future__ import annotations

import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection, connect, get
from tests.integration.running import read_title, wait_until


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        ("hello_asgi:app", "asgi"),
        ("hello_asgi:site.app", "asgi"),
        ("hello_asgi:create_app()", "asgi"),
        ("hello_asgi.py:app", "asgi"),
        ("hello_asgi.py", "asgi"),
        ("hello_wsgi:app", "wsgi"),
        ("validated_wsgi:app", "wsgi"),
    ],
)
def test_the_app_is_found_told_and_served(start: Start, app: str, interface: str) -> None:
    running = start(app, "--workers", "2")

    assert running.find_records("app imported")[0].fields["interface"] == interface
    response = running.get()
    assert (response.status, response.body) == (200, b"Hello, world!")
    assert running.stop() == 0


def test_a_factory_is_called(start: Start) -> None:
    assert start("hello_asgi:create_app", "--factory").get().body == b"Hello, world!"


def test_without_app_the_obvious_file_is_found(start: Start, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("from hello_asgi import app\n")

    running = start()

    assert running.get().body == b"Hello, world!"
    assert "main" in running.find_records("app imported")[0].fields["app"]


def test_a_stream_handler_talks_in_its_own_protocol(start: Start) -> None:
    running = start("lines_stream:handler")

    with connect(running.address) as sock, sock.makefile("rwb") as lines:
        for word in (b"one", b"two"):
            lines.write(word + b"\n")
            lines.flush()
            assert lines.readline() == word.upper() + b"\n"
        lines.write(b"quit\n")
        lines.flush()
        assert lines.readline() == b""
    assert running.find_records("app imported")[0].fields["interface"] == "stream"


def test_a_protocol_factory_gets_each_connection(start: Start) -> None:
    running = start("lines_protocol:Reverse")

    with connect(running.address) as sock:
        sock.sendall(b"abc")
        assert sock.recv(100) == b"cba"
    assert running.find_records("app imported")[0].fields["interface"] == "protocol"


def test_wsgi_threads_run_at_the_same_time(start: Start) -> None:
    running = start("together:app", "--threads", "4")

    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda _: running.get(), range(4)))

    assert [response.status for response in responses] == [200] * 4
    assert len({response.body for response in responses}) == 4


def test_it_listens_on_every_address_it_is_given(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    running = start("hello_asgi:app", "--bind", "[::1]:0", "--bind", f"unix:{path}")

    assert len(running.addresses) == 3
    assert [get(address).body for address in running.addresses] == [b"Hello, world!"] * 3
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert running.stop() == 0
    assert not path.exists()


def test_an_inherited_listener_is_served(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        running = start("hello_asgi:app", bind=f"fd://{listener.fileno()}", pass_fds=(listener.fileno(),))
        assert get(address).body == b"Hello, world!"
        assert running.stop() == 0


def test_systemd_may_hand_over_the_listener(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        hand_over = f'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@" 3<&{listener.fileno()}'
        start(
            "hello_asgi:app",
            bind=None,
            prefix=("bash", "-c", hand_over, "bash"),
            pass_fds=(listener.fileno(),),
        )
        assert get(address).body == b"Hello, world!"


def test_the_process_list_tells_who_is_who(start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "2", "--name", "shop")

    assert read_title(running.master).startswith("prefork: master shop gen=1")
    (zygote,) = running.zygotes
    assert read_title(zygote) == "prefork: zygote shop gen=1"
    assert sorted(read_title(child) for child in zygote.children()) == [
        "prefork: worker shop slot=0 gen=1 ready",
        "prefork: worker shop slot=1 gen=1 ready",
    ]


def test_each_worker_knows_its_slot_and_the_app_is_imported_once(start: Start) -> None:
    running = start("pids:app", "--workers", "3")
    seen: dict[str, dict[str, object]] = {}

    def ask() -> bool:
        said = running.get().json()
        seen[said["slot"]] = said
        return len(seen) == 3

    wait_until(ask, "an answer of each slot")
    (zygote,) = running.zygotes
    assert sorted(seen) == ["0", "1", "2"]
    assert {said["imported_in"] for said in seen.values()} == {zygote.pid}


def test_an_app_that_left_a_thread_behind_is_imported_in_each_worker(start: Start) -> None:
    running = start("threaded_import:app", "--workers", "2")

    assert running.get().body == b"Hello, world!"
    assert "left-behind" in running.log or "thread" in running.log


def test_the_master_is_small_and_has_no_event_loop(start: Start) -> None:
    running = start("hello_asgi:app")
    (worker,) = running.workers
    if not has_asyncio(worker):
        pytest.skip("this Python has no _asyncio extension that a memory map would show")

    assert not has_asyncio(running.master)
    assert running.master.num_threads() == 1
    assert running.master.memory_info().rss <= 20 * 2**20


def has_asyncio(process: psutil.Process) -> bool:
    return "/_asyncio." in Path(f"/proc/{process.pid}/maps").read_text()


def test_lifespan_runs_once_per_worker_and_ends_with_it(start: Start, tmp_path: Path) -> None:
    running = start("counts:app", "--workers", "2")
    workers = sorted(worker.pid for worker in running.workers)
    assert running.get().status == 200
    assert running.stop() == 0

    events: dict[str, list[int]] = {}
    for line in (tmp_path / "counts.txt").read_text().splitlines():
        event, pid = line.split()
        events.setdefault(event, []).append(int(pid))
    assert sorted(events["startup"]) == sorted(events["shutdown"]) == workers
    assert len(events["import"]) == len(events["request"]) == 1


def test_keep_alive_and_pipelining_answer_in_order(start: Start) -> None:
    running = start("echo_body:app")

    with Connection(running.address) as connection:
        requests = [f"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n{n}" for n in range(9)]
        connection.send("".join(requests).encode())
        assert [connection.read_response().body for _ in range(9)] == [b"%d" % n for n in range(9)]


def test_a_pidfile_holds_the_masters_pid_while_it_lives(start: Start, tmp_path: Path) -> None:
    (tmp_path / "p.pid").write_text("999999999\n")  # stale: no such process
    running = start("hello_asgi:app", "--pid", "p.pid")

    assert (tmp_path / "p.pid").read_text() == f"{running.pid}\n"
    assert running.stop() == 0
    assert not (tmp_path / "p.pid").exists()


def test_a_subprocess_of_the_app_inherits_no_sockets(start: Start) -> None:
    descriptors = start("child_fds:app", "--workers", "2").get().body.decode()

    assert [line for line in descriptors.splitlines() if "socket:" in line] == []


def test_the_current_directory_and_environment_can_be_set(start: Start, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "tells.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [f'{os.getcwd()} {os.environ[\"COLOUR\"]}'.encode()]\n"
    )
    running = start("tells:app", "--chdir", "elsewhere", "-e", "COLOUR=blue")

    assert running.get().body.decode() == f"{os.path.realpath(tmp_path)}/elsewhere blue"
