"""`prefork init`: a file to begin with, right as it is and right where a line is uncommented."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from prefork.cli.init import Service
from prefork.cli.init_toml import make_toml
from prefork.config.tables import cut_tables, pick_layers
from tests.cli.program import run_program

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

APP = "async def app(scope, receive, send): ...\n"


def test_the_file_names_the_app_that_is_found_and_passes_a_check(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    made = run_program("init", cwd=tmp_path)
    assert (made.code, made.stderr) == (0, "")
    assert (
        made.stdout
        == f"wrote {tmp_path}/prefork.toml for main:app: prefork check reads it, prefork starts it\n"
    )
    checked = run_program("check", "--profile", "production", "--bind", ":0", cwd=tmp_path)
    assert (checked.code, checked.stderr) == (0, "")
    assert f"app ok: main:app is ASGI ({tmp_path}/main.py)" in checked.stdout


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "prefork.toml").write_text("workers = 2\n")
    ended = run_program("init", "toml", "main:app", cwd=tmp_path)
    assert (ended.code, ended.stderr.splitlines()[0]) == (
        78,
        "error: prefork.toml is there already, and is never replaced",
    )
    assert (tmp_path / "prefork.toml").read_text() == "workers = 2\n"


def test_without_an_app_nothing_is_written(tmp_path: Path) -> None:
    ended = run_program("init", cwd=tmp_path)
    assert ended.code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tml",), 'error: no kind of file "tml"'),
        (("toml", "a:b", "c:d"), 'error: unexpected argument "c:d"'),
    ],
)
def test_words_that_mean_nothing_are_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    ended = run_program("init", *words, cwd=tmp_path)
    assert (ended.code, ended.stderr.splitlines()[0]) == (2, message)


def test_every_line_that_is_a_comment_is_valid_without_its_sign() -> None:
    text = make_toml(Service('we"ird:app', "shop", "/srv/shop"))
    assert tomllib.loads(text)["app"] == 'we"ird:app'
    keys = re.sub(r"(?m)^# ([a-z-]+ = )", r"\1", text[: text.index("# --- Several")])
    assert pick_layers([cut_tables(tomllib.loads(keys), "prefork.toml")], "", "development")

    apps = text[text.index("# [app.shop]") :].replace("# ", "").replace("#\n", "\n")
    tables = cut_tables(tomllib.loads(apps), "prefork.toml")
    assert list(tables.apps) == ["shop", "api"]
    assert pick_layers([tables], "api", None)


GUNICORN = """\
print("settings are read")
bind = "127.0.0.1:0"
workers = 1 + 1
keepalive = 7
worker_class = "uvicorn.workers.UvicornWorker"
statsd_host = "collector:8125"

def post_fork(server, worker): ...
"""


def test_a_gunicorn_conf_becomes_a_file_that_passes_a_check_and_names_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "gunicorn.conf.py").write_text(GUNICORN)
    made = run_program("init", "--from", "gunicorn.conf.py", "main:app", cwd=tmp_path)
    assert (made.code, made.stderr) == (0, "settings are read\n")
    text = (tmp_path / "prefork.toml").read_text()
    assert tomllib.loads(text) == {
        "app": "main:app",
        "bind": "127.0.0.1:0",
        "workers": 2,
        "keep-alive": 7,
        "interface": "asgi",
    }
    assert "\n# statsd_host: leave it out: --admin serves /metrics for Prometheus\n" in text
    assert "\n# post_fork(server, worker): decorate a function" in text
    checked = run_program("check", cwd=tmp_path)
    assert (checked.code, checked.stderr) == (0, "")
    again = run_program("init", "--from", "gunicorn.conf.py", cwd=tmp_path)
    assert again.code == 78
    assert (tmp_path / "prefork.toml").read_text() == text


def test_an_ecosystem_file_becomes_a_table_for_each_app(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(
        '{"apps": [{"name": "a", "script": "a.py", "instances": 2, "kill_timeout": 1500, "odd\\nworkers = 9": 1}, '
        '{"name": " b.c!", "script": "uvicorn", "args": "b:app --port 81", "env_x": {"K": 1}}]}'
    )
    made = run_program("init", "--from", "e.json", cwd=tmp_path)
    assert (made.code, made.stderr) == (0, "")
    assert tomllib.loads((tmp_path / "prefork.toml").read_text()) == {
        "app": {
            "a": {"app": "a.py", "workers": "2", "graceful-timeout": "1.5s"},
            "b.c": {"app": "b:app", "port": 81, "profile": {"x": {"env": {"K": 1}}}},
        }
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("workers = 3\nraise SystemExit('x')\n", "gunicorn.conf.py:2: SystemExit: x"),
        ("workers = = 3\n", "gunicorn.conf.py:1: SyntaxError: invalid syntax"),
        ("import os\nos._exit(5)\n", "gunicorn.conf.py ended its interpreter (exit 5)"),
        ("statsd_host = 'x'\n", "gunicorn.conf.py: statsd_host has no counterpart here"),
        ("workers = object()\n", "gunicorn.conf.py: workers has no counterpart here"),
        (
            "def when_ready(server): ...\ndef post_fork(server, worker): ...\n",
            "gunicorn.conf.py: when_ready(server) has no counterpart here",
        ),
        ("loglevel = 'loud'\n", 'gunicorn.conf.py: log-level = "loud": not one of the choices'),
    ],
)
def test_a_gunicorn_conf_that_cannot_be_served_by_is_told_in_a_line(
    tmp_path: Path, settings: str, message: str
) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(settings)
    ended = run_program("config", "main:app", "-c", "gunicorn.conf.py", cwd=tmp_path)
    assert (ended.code, ended.stderr.splitlines()[0]) == (78, f"error: {message}")
    assert len(ended.stderr.splitlines()) <= 4
