"""A gunicorn.conf.py is run by an interpreter of its own, and only plain values come back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from prefork.cli import gunicorn_file
from prefork.cli.gunicorn_file import read_gunicorn_file
from prefork.config.gunicorn import Left, Translated
from prefork.errors import ConfigError

SETTINGS = """\
import os, pathlib, ssl, sys
from beside import NAME
proc_name = NAME
bind = ("127.0.0.1:1", "127.0.0.1:2")
cert_reqs = ssl.CERT_REQUIRED
pidfile = pathlib.Path("/run/x.pid")
chdir = os.environ["WHERE"]
graceful_timeout = os.getpid()
logger_class = type("Own", (), {"__module__": "shop.logs"})
threads = object()
helper = object()
print("this is no answer")
"""


def test_what_the_file_sets_comes_back_as_plain_values(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'shop'\n")
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(SETTINGS)

    read = read_gunicorn_file(str(path), "g.py", str(tmp_path), {**os.environ, "WHERE": "/srv"})

    pid = read.keys["graceful-timeout"]
    assert pid != os.getpid()
    assert read == Translated(
        {
            "name": "shop",
            "bind": ["127.0.0.1:1", "127.0.0.1:2"],
            "cert-reqs": 2,
            "pid": "/run/x.pid",
            "chdir": "/srv",
            "graceful-timeout": pid,
        },
        (
            Left("logger_class", "log lines are set by --log-format, --log-level and --log-file"),
            Left("threads", "its value is neither text, number, list nor table"),
        ),
    )
    assert capfd.readouterr() == ("", "this is no answer\n")
    assert "beside" not in sys.modules


def test_a_file_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gunicorn_file, "LIMIT_S", 0.3)
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("import threading\nthreading.Event().wait()\n")
    with pytest.raises(ConfigError, match=r"^g\.py was still running after 0\.3 s"):
        read_gunicorn_file(str(path), "g.py", str(tmp_path), os.environ)
