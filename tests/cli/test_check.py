"""`prefork check`: imports the app in a child, whatever the app does to it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.cli.program import run_program

APPS = {
    "good": "async def app(scope, receive, send): ...\n",
    "environ": "import os\nassert os.environ['A'] == '1'\ndef app(environ, start_response): ...\n",
    "chatty": "print('hello')\nimport threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    "def app(environ, start_response): ...\n",
    "raising": "raise RuntimeError('no database')\n",
    "exiting": "import os\nos._exit(9)\n",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "hanging": "import time\ntime.sleep(600)\n",
    # Found first on the path of whoever starts here without care.
    "click": "raise AssertionError\n",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "apps").mkdir()
    for name, source in APPS.items():
        (tmp_path / f"apps/{name}.py").write_text(source)
    return tmp_path


def test_a_good_app_is_named_with_its_interface(directory: Path) -> None:
    ended = run_program("check", "good:app", "--chdir", "apps", "-n", "shop", "-b", ":0", cwd=directory)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == (
        f"configuration ok: shop, 0.0.0.0:0, workers 1\napp ok: good:app is ASGI ({directory}/apps/good.py)\n"
    )


def test_the_environment_and_the_directory_are_those_of_a_worker(directory: Path) -> None:
    ended = run_program("check", "environ:app", "--chdir", "apps", "-e", "A=1", cwd=directory)
    assert (ended.code, ended.stderr) == (0, "")


def test_an_app_that_prints_and_leaves_threads_is_checked_all_the_same(directory: Path) -> None:
    ended = run_program("check", "chatty:app", "--chdir", "apps", cwd=directory)
    assert (ended.code, ended.stderr) == (0, "")
    assert "hello\n" in ended.stdout
    assert "app ok: chatty:app is WSGI" in ended.stdout


@pytest.mark.parametrize(
    ("app", "options", "last_lines"),
    [
        ("exiting:app", (), ["error: importing exiting:app ended the process with exit code 9"]),
        ("killed:app", (), ["error: importing killed:app ended the process with signal 9"]),
        ("hanging:app", ("--boot-timeout", "500ms"), ["error: importing hanging:app took longer than 500ms"]),
        ("nope:app", (), []),
        ("good:ap", (), []),
    ],
)
def test_an_app_that_would_not_start_is_exit_3(
    directory: Path, app: str, options: tuple[str, ...], last_lines: list[str]
) -> None:
    ended = run_program("check", app, "--chdir", "apps", *options, cwd=directory)
    lines = ended.stderr.splitlines()
    assert ended.code == 3
    assert lines[: len(last_lines)] == last_lines
    assert lines[0].startswith("error: ")
    assert len(lines) <= 4


def test_an_app_that_raises_shows_its_own_traceback_once(directory: Path) -> None:
    ended = run_program("check", "raising:app", "--chdir", "apps", cwd=directory)
    assert ended.code == 3
    assert ended.stderr.count("Traceback") == 1
    assert ended.stderr.count("RuntimeError: no database") >= 1
    assert "/prefork/" not in ended.stderr


def test_every_app_and_every_table_of_a_file_is_checked(directory: Path) -> None:
    file = directory / "prefork.toml"
    file.write_text(
        'chdir = "apps"\nbind = "unix:one.sock"\n[app.one]\napp = "good:app"\n[app.two]\napp = "chatty:app"\n'
    )
    ended = run_program("check", cwd=directory)
    assert (ended.code, ended.stderr) == (0, "")
    for line in (
        f"app ok: good:app is ASGI ({directory}/apps/good.py)",
        f"app ok: chatty:app is WSGI ({directory}/apps/chatty.py)",
        f"warning: one and two have one address, unix:{directory}/apps/one.sock: only one of them can run",
    ):
        assert line in ended.stdout.splitlines()

    file.write_text(file.read_text() + "[profile.production]\nworkres = 1\n")
    ended = run_program("check", "one", cwd=directory)
    assert (ended.code, ended.stderr.splitlines()[0]) == (
        78,
        "error: prefork.toml [profile.production]: unknown option workres",
    )


def test_who_holds_the_address_is_a_warning_and_a_log_that_cannot_be_written_an_error(
    directory: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        ended = run_program("check", "good:app", "--chdir", "apps", "--port", str(port), cwd=directory)
    assert ended.code == 0
    assert f"warning: 127.0.0.1:{port} is in use by pid {os.getpid()} (" in ended.stdout

    ended = run_program("check", "good:app", "--chdir", "apps", "--access-log", "no/a.log", cwd=directory)
    assert ended.code == 78
    assert ended.stderr == (
        f"error: cannot write the access log {directory}/apps/no/a.log: its directory does not exist\n"
        "  make the directory first\n"
    )
