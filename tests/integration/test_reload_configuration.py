"""What a reload picks up from the configuration, and what it refuses, seen from outside."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Address, Connection, CutError, MalformedError, get
from tests.integration.load import Load
from tests.integration.running import Running, parse_address, read_title, wait_until

SLOW_SECOND_APP = """
import asyncio
import prefork

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if prefork.worker.generation == 2 and prefork.worker.slot == 1:
            await asyncio.sleep(START_S)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % prefork.worker.generation})
"""
REPORTING_APP = """
import os
from pathlib import Path

def app(environ, start_response):
    said = [os.environ.get(name, "-") for name in ("FROM_FILE", "SECOND", "FROM_TABLE", "HOME_GROWN")]
    mask = os.umask(0)
    os.umask(mask)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join([*said, oct(mask), Path.cwd().name]).encode()]
"""


def configure(folder: Path, bind: Sequence[str] = ("127.0.0.1:0",), **settings: object) -> None:
    """Write prefork.toml; keyword names are keys with underscores."""
    lines = [f"bind = {list(bind)!r}"]
    for key, value in settings.items():
        if isinstance(value, dict):
            table = ", ".join(f"{name} = {text!r}" for name, text in value.items())
            lines.append(f"{key} = {{ {table} }}")
        else:
            lines.append(f"{key.replace('_', '-')} = {value!r}")
    (folder / "prefork.toml").write_text("\n".join(lines).replace("True", "true") + "\n")


def reload(running: Running) -> None:
    """HUP, and wait until all of it is done."""
    done = len(running.find_records("reloaded"))
    running.signal(signal.SIGHUP)
    told = running.wait_for_record("reloaded", count=done + 1)
    running.wait_workers(int(told.fields["workers"]))


def find_address(running: Running, start_of_it: str) -> Address:
    """The newest address that begins so."""
    records = [r for r in running.find_records("listening") if r.fields["address"].startswith(start_of_it)]
    return parse_address(records[-1].fields["address"])


class Callers:
    """A few threads that connect to one address, ask and leave, until they are not let in any more."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.answered = 0
        self.broken: list[str] = []
        """Those who were let in and had no answer."""
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def wait_answered(self, count: int) -> None:
        wait_until(lambda: self.answered >= count, f"{count} answers from {self._address}")

    def wait_refused(self) -> None:
        """Until the last of them was turned away."""
        for thread in self._threads:
            thread.join(15.0)
            assert not thread.is_alive(), "somebody is still let in"

    def _call(self) -> None:
        while True:
            try:
                connection = Connection(self._address)
            except OSError:
                return
            with connection:
                try:
                    response = connection.request(head="Connection: close\r\n")
                except (OSError, CutError, MalformedError) as error:
                    self.broken.append(repr(error))
                else:
                    assert response.body == b"Hello, world!"
                    self.answered += 1


# Listeners.


def test_listeners_come_and_go_under_load_and_nobody_who_was_let_in_is_lost(
    start: Start, tmp_path: Path
) -> None:
    kept = ["127.0.0.1:0", "unix:kept.sock"]
    configure(tmp_path, kept, workers=2)
    running = start("hello_asgi:app", bind=None)
    with ExitStack() as loads:
        steady = [
            loads.enter_context(Load(address, keep_alive=False))
            for address in (find_address(running, "127.0.0.1:"), str(tmp_path / "kept.sock"))
        ]
        for count in (1, 2):
            configure(tmp_path, [*kept, "127.0.0.2:0", "unix:added.sock"], workers=2)
            reload(running)
            added = [find_address(running, "127.0.0.2:"), str(tmp_path / "added.sock")]
            callers = [Callers(address) for address in added]
            for each in callers:
                each.wait_answered(20)

            idle = [Connection(address) for address in added]
            configure(tmp_path, kept, workers=2)
            running.signal(signal.SIGHUP)
            running.wait_for_record("not listening any more", count=2 * count)
            assert [connection.request("/").status for connection in idle] == [200, 200]
            for connection, each in zip(idle, callers, strict=True):
                connection.close()
                each.wait_refused()
            assert [each.broken for each in callers] == [[], []]
            running.wait_workers(2)
            assert not (tmp_path / "added.sock").exists()
    assert [load.report.lost for load in steady] == [0, 0], [load.report for load in steady]
    assert len(running.find_records("listening")) == 2 + 2 * 2, "those that stay are not bound again"
    assert running.stop() == 0
    assert not (tmp_path / "kept.sock").exists()


def is_refused(address: Address) -> bool:
    assert isinstance(address, tuple)
    with socket.socket() as sock:
        sock.settimeout(0.2)
        with suppress(TimeoutError):
            return sock.connect_ex(address) != 0
        return False


def test_what_waits_in_the_backlog_of_a_listener_that_goes_is_answered(start: Start, tmp_path: Path) -> None:
    configure(tmp_path, ["127.0.0.1:0", "unix:gone.sock"], workers=1, settle="0s")
    running = start("sleepy:wsgi", bind=None)  # one worker, inline: it answers one by one
    connections = [Connection(str(tmp_path / "gone.sock"), 20.0) for _ in range(8)]
    for connection in connections:
        connection.send(b"GET /?s=0.3 HTTP/1.1\r\nHost: test\r\n\r\n")

    configure(tmp_path, workers=1, settle="0s")
    running.signal(signal.SIGHUP)
    running.wait_for_record("not listening any more")

    assert [connection.read_response().status for connection in connections] == [200] * 8
    for connection in connections:
        connection.close()


def test_until_every_slot_has_moved_the_new_workers_serve_the_listener_that_goes(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "slow_second.py").write_text(SLOW_SECOND_APP.replace("START_S", "60"))
    configure(tmp_path, ["127.0.0.1:0", "unix:gone.sock"], workers=2, settle="0s")
    running = start("slow_second:app", bind=None)
    configure(tmp_path, workers=2, settle="0s")
    running.signal(signal.SIGHUP)
    running.wait_for_record("worker ready", gen=2)

    path = str(tmp_path / "gone.sock")
    wait_until(lambda: get(path).body == b"2", "an answer of the new generation on the old address")


def test_a_reload_that_fails_takes_its_new_listeners_away_again(start: Start, tmp_path: Path) -> None:
    configure(tmp_path, app="hello_asgi:app")
    running = start(bind=None)
    kept = running.addresses[0]
    with Load(kept, keep_alive=False) as load:
        configure(tmp_path, ["127.0.0.1:0", "127.0.0.2:0", "unix:new.sock"], app="broken_import:app")
        running.signal(signal.SIGHUP)
        running.wait_for_record("reload failed")
        running.wait_for_record("not listening any more", count=2)
        gone = find_address(running, "127.0.0.2:")
        wait_until(lambda: is_refused(gone), "the end of it")
        assert not (tmp_path / "new.sock").exists()
    assert load.report.lost == 0, load.report

    configure(tmp_path, ["127.0.0.1:0", "unix:new.sock"], app="hello_asgi:app")
    reload(running)
    assert get(str(tmp_path / "new.sock")).status == get(kept).status == 200


def test_an_address_that_cannot_be_had_refuses_the_reload_and_leaves_nothing_behind(
    start: Start, tmp_path: Path
) -> None:
    configure(tmp_path)
    running = start("hello_asgi:app", bind=None)
    before = running.master.num_fds()
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = f"127.0.0.1:{foreign.getsockname()[1]}"
        configure(tmp_path, ["127.0.0.1:0", "unix:first.sock", taken])
        running.signal(signal.SIGHUP)
        wait_until(lambda: f"reload refused: {taken} is in use by" in running.log, "the refusal")
    assert not (tmp_path / "first.sock").exists()
    assert running.master.num_fds() == before
    assert running.get().status == 200
    assert not running.find_records("reload")


def test_the_newest_configuration_wins_when_reloads_are_queued(start: Start, tmp_path: Path) -> None:
    configure(tmp_path)
    running = start("slow_import:app", bind=None, env={"IMPORT_S": "0.7"})
    configure(tmp_path, ["127.0.0.1:0", "unix:a.sock"])
    running.signal(signal.SIGHUP)
    running.wait_for_record("reload")
    for count, name in enumerate(("b.sock", "c.sock"), 1):
        configure(tmp_path, ["127.0.0.1:0", f"unix:{name}"])
        running.signal(signal.SIGHUP)
        running.wait_for_record("reload queued", count=count)

    running.wait_for_record("reloaded", count=2)

    assert sorted(path.name for path in tmp_path.glob("*.sock")) == ["c.sock"]
    gone = [Path(r.fields["address"]).name for r in running.find_records("not listening any more")]
    assert gone == ["b.sock", "a.sock"], "b never served, a did until c had come"
    assert get(str(tmp_path / "c.sock")).status == 200


def test_a_socket_file_that_was_removed_comes_back_with_a_reload(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    configure(tmp_path, ["127.0.0.1:0", "unix:shop.sock"])
    running = start("hello_asgi:app", bind=None)
    path.unlink()
    reload(running)
    assert get(str(path)).status == 200
    assert running.stop() == 0
    assert not path.exists()


def test_backlog_and_socket_mode_change_without_a_new_socket(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    configure(tmp_path, ["unix:shop.sock"], socket_mode="660")
    start_of_it = start("hello_asgi:app", bind=None)
    inode = path.stat().st_ino
    configure(tmp_path, ["unix:shop.sock"], socket_mode="600", backlog=64)
    reload(start_of_it)
    assert (path.stat().st_ino, stat.S_IMODE(path.stat().st_mode)) == (inode, 0o600)
    assert len(start_of_it.find_records("listening")) == 1


def test_an_inherited_descriptor_is_kept_by_its_number(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        fd = inherited.fileno()
        configure(tmp_path, [f"fd://{fd}"])
        running = start("hello_asgi:app", bind=None, pass_fds=(fd,))
        configure(tmp_path, [f"fd://{fd}", "unix:more.sock"])
        reload(running)
        assert get(inherited.getsockname()).status == get(str(tmp_path / "more.sock")).status == 200
        assert len(running.find_records("listening")) == 2


# Everything else.


def test_the_environment_is_read_again_and_what_was_removed_is_gone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "reporting.py").write_text(REPORTING_APP)
    (tmp_path / "app.env").write_text("FROM_FILE=1\nSECOND=yes\n")
    configure(tmp_path, env_file="app.env", env={"FROM_TABLE": "t"})
    running = start("reporting:app", bind=None, env={"HOME_GROWN": "master"})
    assert running.get().body.split()[:4] == [b"1", b"yes", b"t", b"master"]

    (tmp_path / "app.env").write_text("FROM_FILE=2\n")
    configure(tmp_path, env_file="app.env", env={"HOME_GROWN": "table"})
    reload(running)
    assert running.get().body.split()[:4] == [b"2", b"-", b"-", b"table"]

    configure(tmp_path)
    reload(running)
    assert running.get().body.split()[:4] == [b"-", b"-", b"-", b"master"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"umask": "077", "pid": "shop.pid"}, {}, b"umask"),
        ({}, {"umask": "027"}, b"0o27"),
        ({"chdir": "."}, {"chdir": "other"}, b"other"),
    ],
)
def test_process_settings_apply_to_the_new_generation(
    start: Start, tmp_path: Path, before: dict[str, str], after: dict[str, str], told: bytes
) -> None:
    for place in (tmp_path, tmp_path / "other"):
        place.mkdir(exist_ok=True)
        (place / "reporting.py").write_text(REPORTING_APP)
    mask = os.umask(0)
    os.umask(mask)
    configure(tmp_path, **before)
    running = start("reporting:app", bind=None)
    configure(tmp_path, **after)
    reload(running)
    wanted = oct(mask).encode() if told == b"umask" else told
    assert wanted in running.get().body.split()[4:]


def test_workers_name_and_timeouts_change(start: Start, tmp_path: Path) -> None:
    configure(tmp_path, workers=1, name="old", keep_alive="30s")
    running = start("hello_asgi:app", bind=None)
    configure(tmp_path, workers=3, name="new", keep_alive="250ms")
    reload(running)
    assert len(running.wait_workers(3)) == 3
    wait_until(
        lambda: all(" new " in " ".join(process.cmdline()) for process in [running.master, *running.workers]),
        "the new name in every title",
    )
    with Connection(running.address) as idle:
        idle.request("/")
        began = time.monotonic()
        assert idle.is_closed_by_peer()
        assert time.monotonic() - began < 5


def test_the_log_changes_its_file_level_and_format_and_a_failed_reload_leaves_it(
    start: Start, tmp_path: Path
) -> None:
    configure(tmp_path, app="hello_asgi:app")
    running = start(bind=None)
    configure(tmp_path, app="broken_import:app", log_file="failed.log")
    running.signal(signal.SIGHUP)
    running.wait_for_record("reload failed")

    configure(tmp_path, app="hello_asgi:app", log_file="new.log", log_format="json", log_level="warning")
    running.signal(signal.SIGHUP)
    wait_until(lambda: read_title(running.master).endswith("gen=3 (serving)"), "the end of a reload unlogged")
    configure(tmp_path, app="hello_asgi:app", log_file="no/such/directory.log")
    running.signal(signal.SIGHUP)
    log = tmp_path / "new.log"
    wait_until(lambda: log.exists() and "reload refused: cannot write the log file" in log.read_text(), "it")

    log.rename(tmp_path / "rotated.log")
    configure(tmp_path, app="hello_asgi:app", log_file="new.log", log_level="info")
    running.signal(signal.SIGHUP)
    wait_until(lambda: log.exists() and "reloaded gen=" in log.read_text(), "a rotated log is made anew")
    log.rename(tmp_path / "again.log")
    running.signal(signal.SIGUSR1)
    wait_until(lambda: log.exists() and "log reopened" in log.read_text(), "and reopened")
    assert running.stop() == 0
    assert "stopped" in log.read_text()
    assert "stopped" not in running.log


def test_the_pidfile_stays_and_one_line_says_so(start: Start, tmp_path: Path) -> None:
    configure(tmp_path, pid="old.pid")
    running = start("hello_asgi:app", bind=None)
    configure(tmp_path, pid="new.pid")
    reload(running)
    assert len(running.find_records("the pidfile stays until a restart")) == 1
    assert [path.name for path in tmp_path.glob("*.pid")] == ["old.pid"]


def test_too_many_workers_refuse_the_reload(start: Start, tmp_path: Path) -> None:
    configure(tmp_path)
    running = start("hello_asgi:app", bind=None)
    configure(tmp_path, workers=1000)
    running.signal(signal.SIGHUP)
    wait_until(lambda: "reload refused: workers: 1000 is more than" in running.log, "the refusal")
    assert running.get().status == 200
