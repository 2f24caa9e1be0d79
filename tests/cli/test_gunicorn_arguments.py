"""`GUNICORN_CMD_ARGS`: a layer if all of it means something here, else one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefork.cli.gunicorn_arguments import cut_arguments
from prefork.errors import ConfigError
from tests.cli.program import run_program


def test_a_known_command_line_is_a_layer_with_its_origin() -> None:
    path, layer = cut_arguments(
        "-c 'my conf.py' --bind=:8001 -w 3 -k uvicorn.workers.UvicornWorker --access-logfile - --preload"
    )
    assert path == "my conf.py"
    assert {given.origin for given in layer.given.values()} == {"env GUNICORN_CMD_ARGS"}
    assert list(layer.given) == ["interface", "bind", "workers", "preload", "access-log"]
    assert layer.given["interface"].value == "asgi"
    assert layer.given["preload"].value == "always"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "--workers 2 --statsd-host x",
            "GUNICORN_CMD_ARGS: --statsd-host has no counterpart here",
            "leave it out: --admin serves /metrics for Prometheus",
        ),
        (
            "-D -w 2",
            "GUNICORN_CMD_ARGS: -D has no counterpart here",
            "prefork start runs it in the background",
        ),
        ("--wrokers 2", "GUNICORN_CMD_ARGS: unknown option --wrokers", "did you mean --workers?"),
        (
            "--workers",
            'GUNICORN_CMD_ARGS "--workers": a value is missing, or there is one too many',
            "it is read as flags of prefork's; unset it if it is meant for another program",
        ),
        ("--workers '2", 'GUNICORN_CMD_ARGS "--workers \'2": no closing quotation', None),
        (
            "--workers two",
            'GUNICORN_CMD_ARGS: --workers "two": not a number of workers',
            "accepted: a number from 1, max (one per CPU), max-1, 50%",
        ),
    ],
)
def test_what_means_nothing_here_is_refused_by_name(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        cut_arguments(text)
    assert (refused.value.message, next(iter(refused.value.hints), None)) == (message, hint)


def test_it_counts_above_the_file_it_names_and_below_our_own_variables(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\nthreads = 2\nkeepalive = 2\n")
    ended = run_program(
        *("config", "main:app", "--json"),
        cwd=tmp_path,
        env={
            "GUNICORN_CMD_ARGS": "-c gunicorn.conf.py --threads 3 --keep-alive 3",
            "PREFORK_KEEP_ALIVE": "4",
        },
    )
    assert (ended.code, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    assert [told[name]["value"] for name in ("workers", "threads", "keep_alive_s")] == [2, 3, 4]
    assert told["threads"]["origin"] == "env GUNICORN_CMD_ARGS"
    assert told["workers"]["origin"] == "gunicorn.conf.py"


def test_a_gunicorn_conf_that_nobody_named_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("async def app(scope, receive, send): ...\n")
    (tmp_path / "gunicorn.conf.py").write_text("bind = '127.0.0.1:0'\n")
    unread = run_program("check", "main:app", "--bind", ":0", cwd=tmp_path)
    assert unread.code == 0
    assert "note: gunicorn.conf.py is not read: -c gunicorn.conf.py does, " in unread.stdout + unread.stderr
    for name in ("gunicorn.conf.py", "file:gunicorn.conf.py"):
        read = run_program("check", "main:app", "-c", name, cwd=tmp_path)
        assert (read.code, "is not read" in read.stdout + read.stderr) == (0, False)
    refused = run_program("check", "main:app", "-c", "python:shop.conf", cwd=tmp_path)
    assert (refused.code, refused.stderr.splitlines()[0]) == (78, "error: python:shop.conf is a module")
