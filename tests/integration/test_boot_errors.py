"""What is wrong is said in a few lines that name the culprit, with the right exit code, within seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import get
from tests.integration.running import LINE, Running, clean_environment, copy_apps

REFUSAL_TIMEOUT_S = 10.0
ERROR_LINES_AT_MOST = 4


def refuse(folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a start that must fail; return the exit code and what it said beside its log lines."""
    copy_apps(folder)
    command = [*prefix, sys.executable, "-m", "prefork", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=REFUSAL_TIMEOUT_S,
        check=False,
    )
    said = "\n".join(line for line in done.stderr.splitlines() if not LINE.match(line))
    assert done.stdout == ""
    return done.returncode, said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("nothing_here:app",), 3, ["nothing_here"], id="no such module"),
        pytest.param(("nothing_here.py",), 3, ["nothing_here.py"], id="no such file"),
        pytest.param(("hello_asgi:ap",), 3, ['"ap"', "hello_asgi:app"], id="no such attribute"),
        pytest.param(("helo_asgi:app",), 3, ["helo_asgi", "hello_asgi"], id="nearly a module"),
        pytest.param(("hello_asgi:HEADERS",), 3, ["HEADERS"], id="no app"),
        pytest.param(("hello_asgi:app", "--wrokers", "2"), 2, ["--wrokers", "--workers"], id="option"),
        pytest.param(("hello_asgi:app", "--workers", "many"), 2, ["workers", "many"], id="worker count"),
        pytest.param(("hello_asgi:app", "--workers", "0"), 2, ["workers", "0"], id="no workers"),
        pytest.param(("hello_asgi:app", "--workers", "-1"), 2, ["workers", "-1"], id="negative workers"),
        pytest.param(("hello_asgi:app", "--timeout", "soon"), 2, ["timeout", "soon"], id="duration"),
        pytest.param(("hello_asgi:app", "--bind", "127.0.0.1:99999"), 2, ["99999"], id="port"),
        pytest.param(("hello_asgi:app", "--interface", "cgi"), 2, ["cgi", "asgi"], id="interface"),
        pytest.param(
            ("hello_asgi:app", "--bind", "203.0.113.7:0"), 78, ["203.0.113.7"], id="foreign address"
        ),
        pytest.param(("hello_asgi:app", "--pid", "nowhere/p.pid"), 78, ["nowhere/p.pid"], id="pidfile"),
        pytest.param(("hello_asgi:app", "--log-file", "nowhere/l"), 78, ["nowhere/l"], id="log file"),
        pytest.param(("hello_asgi:app", "--chdir", "nowhere"), 78, ["nowhere"], id="directory"),
        pytest.param(("hello_asgi:app", "--user", "no-such-user"), 78, ["no-such-user"], id="user"),
        pytest.param(("hello_asgi:app", "-c", "nowhere.toml"), 78, ["nowhere.toml"], id="config file"),
    ],
)
def test_a_mistake_is_named_in_four_lines(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    if "--bind" not in arguments:
        arguments = (*arguments, "--bind", "127.0.0.1:0")

    found, said = refuse(tmp_path, *arguments)

    assert said.startswith("error: ")
    assert [word for word in words if word not in said] == [], said
    assert len(said.splitlines()) <= ERROR_LINES_AT_MOST, said
    assert found == code, said


@pytest.mark.parametrize("workers", ["1", "4"])
@pytest.mark.parametrize("preload", ["auto", "never"])
def test_an_app_that_raises_is_shown_once_with_its_own_frames(
    tmp_path: Path, workers: str, preload: str
) -> None:
    code, said = refuse(
        tmp_path, "broken_import:app", "--bind", "127.0.0.1:0", "--workers", workers, "--preload", preload
    )

    assert code == 3
    assert said.count("Traceback") == 1, said
    assert said.count("RuntimeError: no DATABASE_URL") <= 2, said  # in the traceback, and in the last line
    assert "load_settings" in said
    assert "/prefork/" not in said
    assert "importlib" not in said


def test_a_syntax_error_is_shown_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "typo.py").write_text("def app(:\n    pass\n")

    code, said = refuse(tmp_path, "typo:app", "--bind", "127.0.0.1:0")

    assert code == 3
    assert "typo.py" in said
    assert "def app(:" in said
    assert "/prefork/" not in said


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_startup_that_fails_is_told_once(tmp_path: Path, workers: str) -> None:
    code, said = refuse(tmp_path, "broken_lifespan:app", "--bind", "127.0.0.1:0", "--workers", workers)

    assert (code, said.count("no database")) == (3, 1), said


def test_an_import_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("while True:\n    pass\n")

    code, said = refuse(tmp_path, "endless:app", "--bind", "127.0.0.1:0", "--boot-timeout", "1s")

    assert code == 3
    assert "1 s" in said or "boot" in said


def test_a_port_in_use_names_who_holds_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refuse(tmp_path, "hello_asgi:app", "--bind", f"127.0.0.1:{port}")

    assert code == 75
    assert f"127.0.0.1:{port} is in use by pid {os.getpid()}" in said
    assert len(said.splitlines()) <= ERROR_LINES_AT_MOST


def test_a_live_pidfile_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "p.pid").write_text(f"{os.getpid()}\n")

    code, said = refuse(tmp_path, "hello_asgi:app", "--bind", "127.0.0.1:0", "--pid", "p.pid")

    assert (code, str(os.getpid()) in said) == (75, True), said
    assert (tmp_path / "p.pid").read_text() == f"{os.getpid()}\n"


def test_a_live_unix_socket_is_refused_and_left_alone(start: Start, tmp_path: Path) -> None:
    first = start("hello_asgi:app", bind=f"unix:{tmp_path}/s")

    code, said = refuse(tmp_path, "hello_wsgi:app", "--bind", f"unix:{tmp_path}/s")

    assert (code, f"unix:{tmp_path}/s" in said) == (75, True), said
    assert first.get().body == b"Hello, world!"


def test_a_stale_unix_socket_is_taken_over(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
        left_behind.listen()

    start("hello_asgi:app", bind=f"unix:{path}")

    assert get(str(path)).body == b"Hello, world!"


def test_a_file_where_the_socket_should_be_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")

    code, said = refuse(tmp_path, "hello_asgi:app", "--bind", f"unix:{tmp_path}/s")

    assert code != 0
    assert f"{tmp_path}/s" in said
    assert (tmp_path / "s").read_text() == "precious"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wrokers = 2\n", ["wrokers", "workers", "prefork.toml"]),
        ('workers = "many"\n', ["workers", "many", "prefork.toml"]),
        ("workers = \n", ["prefork.toml"]),
    ],
    ids=["unknown key", "bad value", "no TOML"],
)
def test_a_bad_configuration_file_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "prefork.toml").write_text(text)

    code, said = refuse(tmp_path, "hello_asgi:app", "--bind", "127.0.0.1:0")

    assert code == 78, said
    assert [word for word in words if word not in said] == [], said
    assert len(said.splitlines()) <= ERROR_LINES_AT_MOST, said


def test_nothing_is_left_after_a_refusal(tmp_path: Path) -> None:
    running = Running(tmp_path, ["broken_import:app", "--bind", f"unix:{tmp_path}/s", "--pid", "p.pid"])

    assert running.wait_exit() == 3

    running.wait_gone()
    assert running.clean_up() == []
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "p.pid").exists()
