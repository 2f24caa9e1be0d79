"""`--reload`: whoever saves a file sees what they saved, whatever happens to the watcher; broken code serves nobody.

Each promise holds both ways: at the kernel's word through watchfiles, and by polling.
"""

from __future__ import annotations

import importlib.util
import pwd
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.running import Running, assert_never_within, wait_until
from tests.integration.test_privileges import NOBODY, WAY, needs_nobody
from tests.integration.test_privileges import open_folder as open_folder  # noqa: PLC0414  # a fixture

WAYS = [
    pytest.param(
        "watchfiles",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("watchfiles") is None, reason="watchfiles is not installed"
        ),
    ),
    pytest.param("polling", marks=pytest.mark.thorough),
]
APP = """
VERSION = {version!r}

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": VERSION.encode()}})
"""

StartReloading = Callable[..., Running]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def start_reloading(start: Start, tmp_path: Path, way: str) -> StartReloading:
    """Start `shop:app` at version 1, and wait until it is watched."""

    def start_one(*arguments: str, workers: int = 2) -> Running:
        save(tmp_path, "1")
        env = {"WATCHFILES_FORCE_POLLING": "1" if way == "polling" else ""}
        running = start("shop:app", "--workers", str(workers), "--reload", *arguments, env=env)
        running.wait_for_record("watching for changes", by=way)
        return running

    return start_one


def save(folder: Path, version: str, *, app: str = APP) -> None:
    (folder / "shop.py").write_text(app.format(version=version))


def wait_version(running: Running, version: str) -> None:
    """Every worker serves it, and the reload is over."""

    def look() -> bool:
        answers = {running.get().body.decode() for _ in range(4)}
        return answers == {version}

    wait_until(look, f"version {version}")


def count_reloads(running: Running) -> int:
    return len(running.find_records("reload"))


def find_watcher(running: Running) -> psutil.Process:
    """The watcher, once it has said its name."""
    return wait_until(lambda: running.find_role("watcher"), "a watcher")[0]


def test_what_is_saved_is_served(start_reloading: StartReloading) -> None:
    running = start_reloading()
    for version in ("2", "3", "4"):  # of one length, and perhaps within a second: their .pyc look alike
        save(running.folder, version)
        wait_version(running, version)
    assert running.find_records("change seen", files="shop.py")
    assert running.stop() == 0
    running.wait_gone()


def test_one_worker_and_an_open_browser_tab_do_not_delay_it(start_reloading: StartReloading) -> None:
    running = start_reloading("--keep-alive", "60s", workers=1)
    with Connection(running.address) as tab:
        assert tab.request("/").body == b"1"
        save(running.folder, "2")
        wait_version(running, "2")


def test_broken_code_is_told_once_and_the_old_code_serves_until_it_is_mended(
    start_reloading: StartReloading,
) -> None:
    running = start_reloading()
    save(running.folder, "2", app=APP + "\nthis is no Python\n")
    running.wait_for_record("reload failed")
    assert running.get().body == b"1"
    assert running.log.count("this is no Python") == 1

    save(running.folder, "3")
    wait_version(running, "3")
    assert running.log.count("this is no Python") == 1


def test_a_burst_of_changes_is_few_reloads(start_reloading: StartReloading) -> None:
    running = start_reloading()
    for number in range(50):
        (running.folder / f"module_{number}.py").write_text("")
        save(running.folder, f"draft {number}")
    save(running.folder, "done")
    wait_version(running, "done")
    running.wait_for_record("reloaded", count=count_reloads(running))
    assert count_reloads(running) <= 3


def test_a_killed_watcher_is_replaced_and_nothing_saved_meanwhile_is_missed(
    start_reloading: StartReloading,
) -> None:
    running = start_reloading()
    killed = find_watcher(running)
    killed.suspend()  # whatever is saved now, this one never tells
    save(running.folder, "2")
    killed.kill()
    wait_version(running, "2")
    running.wait_for_record("watcher lost")
    assert find_watcher(running).pid != killed.pid
    wait_until(lambda: not running.find_zombies(), "the last of the old watcher")

    save(running.folder, "3")
    wait_version(running, "3")


def test_a_stopped_watcher_harms_nobody(start_reloading: StartReloading) -> None:
    running = start_reloading()
    watcher = find_watcher(running)
    watcher.suspend()
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    assert running.get().status == 200
    assert running.stop() == 0
    running.wait_gone()


def test_the_watcher_ends_with_its_master_however_that_ends(start_reloading: StartReloading) -> None:
    running = start_reloading()
    watcher = find_watcher(running)
    running.find_processes()
    running.process.kill()
    running.process.wait()
    wait_until(lambda: not watcher.is_running(), "the watcher's end")
    running.wait_gone()


def test_the_configuration_and_its_files_are_watched_too(
    start_reloading: StartReloading, tmp_path: Path
) -> None:
    settings, toml = tmp_path / "conf" / "shop.env", tmp_path / "prefork.toml"
    settings.parent.mkdir()
    settings.write_text("GREETING=one\n")
    toml.write_text('env-file = "conf/shop.env"\n')
    running = start_reloading("--reload-exclude", "conf")
    save(tmp_path, "1", app=APP.replace("{version!r}", "__import__('os').environ['GREETING']"))
    wait_version(running, "one")

    settings.write_text("GREETING=two\n")
    wait_version(running, "two")
    toml.write_text('env-file = "conf/shop.env"\nnonsense = 1\n')
    running.wait_for_record("reload refused: prefork.toml: unknown option nonsense")
    assert running.get().body == b"two"
    toml.write_text('env-file = "conf/shop.env"\nworkers = 3\nenv = { GREETING = "three" }\n')
    wait_version(running, "three")


def test_what_is_watched_can_be_changed_by_a_reload(start: Start, tmp_path: Path, way: str) -> None:
    save(tmp_path, "1")
    toml = tmp_path / "prefork.toml"
    toml.write_text("reload = true\n")
    env = {"WATCHFILES_FORCE_POLLING": "1" if way == "polling" else ""}
    running = start("shop:app", env=env)
    running.wait_for_record("watching for changes")
    toml.write_text('reload = true\nreload-include = "*.html"\n')
    running.wait_for_record("watching for changes", count=2)
    (tmp_path / "page.html").write_text("<p>")
    running.wait_for_record("change seen", files="page.html")

    toml.write_text("reload = false\n")
    wait_until(lambda: not running.find_role("watcher"), "the watcher's end")
    wait_until(lambda: not running.find_zombies(), "the last of the old watcher")


def test_what_nobody_reads_reloads_nothing(start_reloading: StartReloading) -> None:
    running = start_reloading("--reload-exclude", "test_*")
    for name in (".git", "__pycache__", "node_modules", "env"):
        (running.folder / name).mkdir(exist_ok=True)
    (running.folder / "env/pyvenv.cfg").write_text("")
    noise = [
        ".git/hook.py",
        "__pycache__/x.py",
        "node_modules/x.py",
        "env/x.py",
        "4913",
        "shop.py~",
        ".#shop.py",
    ]
    for name in (*noise, "test_shop.py", "notes.txt"):
        (running.folder / name).write_text("")
    assert_never_within(lambda: running.find_records("change seen"), "a reload for nothing", 1.5)


def test_code_in_new_directories_is_watched_and_so_is_what_comes_back(
    start_reloading: StartReloading,
) -> None:
    running = start_reloading()
    package = running.folder / "parts"
    for round_ in (1, 2):
        package.mkdir()
        (package / "part.py").write_text("x = 1")
        running.wait_for_record("change seen", files="parts/part.py", count=round_)
        (package / "deep").mkdir()
        (package / "deep/part.py").write_text("x = 1")
        running.wait_for_record("change seen", files="parts/deep/part.py", count=round_)
        seen = len(running.find_records("change seen"))
        shutil.rmtree(package)
        running.wait_for_record("change seen", count=seen + 1)


def test_an_edit_while_the_app_is_imported_for_the_first_time_is_not_lost(
    start: Start, tmp_path: Path
) -> None:
    wait = "while not pathlib.Path('go').exists(): time.sleep(0.01)"
    save(tmp_path, "1", app=f"import pathlib, time\npathlib.Path('importing').touch()\n{wait}\n" + APP)
    running = start("shop:app", "--reload", wait=False)
    wait_until((tmp_path / "importing").exists, "the import")
    save(tmp_path, "2")
    (tmp_path / "go").touch()
    running.wait_serving()
    wait_version(running, "2")


def test_ctrl_c_at_a_terminal_ends_the_watcher_too(start: Start, tmp_path: Path) -> None:
    save(tmp_path, "1")
    running = start("shop:app", "--reload", terminal=True)
    running.wait_for_record("watching for changes")
    running.find_processes()
    running.type("\x03")
    assert running.wait_exit(3) == 0
    running.wait_gone()
    assert "Traceback" not in running.log


def test_the_variable_does_what_the_flag_does(start: Start, tmp_path: Path) -> None:
    save(tmp_path, "1")
    running = start("shop:app", env={"PREFORK_RELOAD": "1"})
    running.wait_for_record("watching for changes", dirs=tmp_path)


def test_a_directory_to_watch_that_is_not_there_is_refused(start: Start, tmp_path: Path) -> None:
    running = start("hello_asgi:app", "--reload", "--reload-dir", "nowhere", wait=False)
    assert running.wait_exit() == 78
    assert f"cannot watch {tmp_path}/nowhere: no such directory" in running.log


@needs_nobody
def test_the_watcher_is_nobody_important(open_folder: Path, start: Start) -> None:
    save(open_folder, "1")
    (open_folder / "shop.py").chmod(0o644)
    running = start("shop:app", "--reload", "--user", NOBODY, prefix=WAY or (), folder=open_folder)
    running.wait_for_record("watching for changes")
    assert set(find_watcher(running).uids()) == {pwd.getpwnam(NOBODY).pw_uid}
    save(open_folder, "2")
    wait_version(running, "2")
