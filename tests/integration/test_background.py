"""`prefork start`: masters that outlive whoever started them, and what is said when one cannot serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.program import Ended, clean_environ
from tests.integration.conftest import Start
from tests.integration.http_client import get
from tests.integration.running import wait_until

DEADLINE_S = 40

TWO_APPS = """
workers = 1
preload = "never"

[app.shop]
app = "good:app"
bind = "unix:shop.sock"
env-file = "shop.env"

[app.api]
app = "good:app"
bind = "unix:api.sock"

[profile.production]
workers = 2
"""

GOOD = """
import os
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ.get("GREETING", "none").encode()})
"""


class Background:
    """A directory with apps, a state directory, and the masters that were started in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state/prefork"
        (folder / "good.py").write_text(GOOD)
        (folder / "broken.py").write_text("raise RuntimeError('no database')\n")
        (folder / "shop.env").write_text("GREETING=hello\n")
        (folder / "prefork.toml").write_text(TWO_APPS)
        self.known: dict[int, psutil.Process] = {}

    def run(self, *arguments: str, shell: str = "", env: dict[str, str] | None = None) -> Ended:
        command = [sys.executable, "-m", "prefork", *arguments]
        if shell:
            command = ["sh", "-c", shell, *command]
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=clean_environ(XDG_STATE_HOME=str(self.folder / "state"), **(env or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        self.note()
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def note(self) -> None:
        """Remember every process that has been started in our directory."""
        for record in self.state.glob("started/*.json"):
            pid = json.loads(record.read_text())["pid"]
            if psutil.pid_exists(pid):
                master = psutil.Process(pid)
                self.known |= {each.pid: each for each in (master, *master.children(recursive=True))}

    def master(self, name: str) -> psutil.Process:
        return psutil.Process(json.loads((self.state / f"started/{name}.json").read_text())["pid"])

    def stop(self, name: str) -> None:
        master = self.master(name)
        master.send_signal(signal.SIGTERM)
        psutil.wait_procs([master], 15)
        assert not master.is_running()

    def find_processes(self) -> list[psutil.Process]:
        """Those that work in our directory, whoever is their parent by now."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.folder) and "prefork" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def clean_up(self) -> None:
        self.note()
        left = [*self.known.values(), *self.find_processes()]
        for process in left:
            try:
                process.kill()  # psutil compares the start time first
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, 15)


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Background]:
    made = Background(tmp_path)
    yield made
    made.clean_up()


def test_all_apps_start_serve_and_are_left_alone_when_they_run(background: Background) -> None:
    ended = background.run("start")
    assert (ended.code, "error" in ended.stderr) == (0, False)
    assert sorted(line.split()[0] for line in ended.stdout.splitlines()) == ["api:", "shop:"]
    assert get(str(background.folder / "shop.sock")).body == b"hello"
    assert get(str(background.folder / "api.sock")).body == b"none"

    pid = background.master("shop").pid
    again = background.run("start", "sh*")
    assert (again.code, again.stdout) == (0, f"shop: runs already, pid {pid}\n")

    # A reload reads the same table again, and the files of its environment.
    (background.folder / "shop.env").write_text("GREETING=bye\n")
    os.kill(pid, signal.SIGHUP)
    log = background.state / "shop.log"
    assert log.stat().st_mode & 0o777 == 0o640
    wait_until(lambda: " reloaded " in log.read_text(), "the reload")
    assert get(str(background.folder / "shop.sock")).body == b"bye"


def test_a_master_in_the_background_holds_nothing_of_its_callers(background: Background) -> None:
    # The shell ends when the last one who holds its pipe has closed it; descriptor 9 is one that nobody spoke of.
    ended = background.run("start", "shop", shell='exec 9>&1; "$0" "$@" | cat')
    assert ended.code == 0
    assert "shop: ready after" in ended.stdout

    master = background.master("shop")
    assert master.ppid() != os.getpid()
    assert master.terminal() is None
    assert os.getsid(master.pid) not in {os.getsid(0), master.pid}
    assert master.cwd() == str(background.folder)
    fds = Path(f"/proc/{master.pid}/fd")
    assert str((fds / "0").readlink()) == "/dev/null"
    assert {str((fds / "1").readlink()), str((fds / "2").readlink())} == {str(background.state / "shop.log")}


def test_the_profile_wins_and_typed_options_over_it(background: Background) -> None:
    assert background.run("start", "shop", "--profile", "production").code == 0
    assert " serving workers=2 " in (background.state / "shop.log").read_text()
    background.stop("shop")
    assert background.run("start", "shop", "--profile", "production", "-w", "3").code == 0
    assert " serving workers=3 " in (background.state / "shop.log").read_text()


def test_a_broken_app_is_told_with_its_traceback_and_leaves_no_process(background: Background) -> None:
    ended = background.run("start", "broken:app", "-n", "broken", "-b", "unix:broken.sock")
    assert (ended.code, ended.stdout) == (3, "")
    *_, exception, message, where = ended.stderr.splitlines()
    assert exception == "RuntimeError: no database"
    assert message.startswith("error: broken: broken could not be imported: RuntimeError: no database")
    assert where == f"  {background.state}/broken.log has more"
    assert background.find_processes() == []


def test_a_busy_port_of_one_app_keeps_no_other_from_starting(background: Background) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with (background.folder / "prefork.toml").open("a") as file:
            file.write(f'[app.busy]\napp = "good:app"\nbind = "127.0.0.1:{port}"\n')
        ended = background.run("start", "busy", "api")
    assert ended.code == 75
    assert ended.stderr.startswith(f"error: busy: 127.0.0.1:{port} is in use by pid {os.getpid()} ")
    assert ended.stdout.startswith("api: ready after ")


def test_what_was_saved_is_started_again_from_anywhere_without_secrets(
    background: Background, tmp_path: Path
) -> None:
    assert background.run("start", "shop").code == 0
    assert (
        background.run("start", "good:app", "-n", "web", "-b", "unix:web.sock", "-e", "TOKEN=hush").code == 0
    )
    saved = background.run("save")
    path = background.state / "saved.json"
    assert (saved.code, saved.stdout) == (1, f"saved shop in {path}\n")
    assert saved.stderr.startswith(
        "web: not saved, it was started with --env, whose values are never written"
    )
    for file in [path, *background.state.glob("started/*.json")]:
        assert "hush" not in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600

    background.stop("shop")
    nothing = background.run("save")
    assert (nothing.code, nothing.stdout) == (1, "")
    assert nothing.stderr.endswith(f"error: nothing that could be saved\n  {path} stays as it is\n")
    background.stop("web")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ended = background.run("resurrect", shell='cd elsewhere && exec "$0" "$@"')
    assert (ended.code, "error" in ended.stderr) == (0, False)
    assert ended.stdout.startswith("shop: ready after ")
    assert get(str(background.folder / "shop.sock")).body == b"hello"

    again = background.run("resurrect")
    assert (again.code, again.stdout) == (0, f"shop: runs already, pid {background.master('shop').pid}\n")


def test_who_serves_in_the_foreground_is_named_and_not_saved(background: Background, start: Start) -> None:
    running = start("hello_asgi:app", "--workers", "1", "--name", "front")
    env = {"PREFORK_CONTROL": running.control}
    why = f"front: not saved, prefork start did not start it (pid {running.pid}); whoever did,"
    alone = background.run("save", env=env)
    assert (alone.code, alone.stdout) == (1, "")
    assert alone.stderr.startswith(why)
    assert "error: nothing runs in the background\n" in alone.stderr

    assert background.run("start", "shop", env=env).code == 0
    saved = background.run("save", env=env)
    assert (saved.code, saved.stdout) == (0, f"saved shop in {background.state / 'saved.json'}\n")
    assert saved.stderr.startswith(why)
    assert saved.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"services": [{"name": 1}]}', "is not what prefork save writes: Expected `str`, got `int`"),
        ("{", "is not what prefork save writes: Input data was truncated"),
        ('{"services": [], "version": 2}', "was written by another version of prefork"),
    ],
)
def test_a_corrupt_list_of_saved_services_starts_nothing(
    background: Background, text: str, message: str
) -> None:
    background.state.mkdir(parents=True)
    (background.state / "saved.json").write_text(text)
    ended = background.run("resurrect")
    assert ended.code == 78
    assert ended.stderr.startswith(f"error: {background.state}/saved.json {message}")
    assert background.find_processes() == []


def test_one_in_the_foreground_runs_already_and_one_of_that_name_elsewhere_is_another(
    background: Background, tmp_path: Path
) -> None:
    name = f"web-{uuid.uuid4().hex[:8]}"  # control sockets of a machine lie in one place
    assert background.run("start", "good:app", "-n", name, "-b", "unix:web.sock").code == 0
    pid = background.master(name).pid
    (background.state / f"started/{name}.json").unlink()  # now it is known by its control socket alone
    again = background.run("start", "good:app", "-n", name, "-b", "unix:web.sock")
    assert (again.code, again.stdout, again.stderr) == (0, f"{name}: runs already, pid {pid}\n", "")

    assert background.run("stop", name).code == 0
    assert background.run("start", "good:app", "-n", name, "-b", "unix:web.sock").code == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "good.py").write_text(GOOD)
    other = background.run(
        "start", "good:app", "-n", name, "-b", "unix:b.sock", shell='cd elsewhere && exec "$0" "$@"'
    )
    pid = background.master(name).pid
    assert (other.code, other.stdout) == (1, "")
    assert other.stderr.startswith(f"error: {name}: another {name} runs in {background.folder}, pid {pid}\n")
