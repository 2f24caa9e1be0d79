"""A service that goes by its gunicorn.conf.py: settings, hooks of workers, reloads."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import Start
from tests.integration.running import clean_environment, wait_until
from tests.integration.test_operating import ANSWER_S, fastest_status_s

SETTINGS = """\
import os
workers = 2
accesslog = "-"
MARK = "first"
print(f"read by {os.getpid()};", flush=True)

def post_fork(server, worker):
    server.log.info("%s post_fork %s of %s", MARK, worker.age, server.cfg.workers)
    print(f"forked {worker.pid == os.getpid()}", flush=True)

def post_worker_init(worker):
    print(f"init {worker.cfg.accesslog}", flush=True)

def worker_exit(server, worker):
    print(f"exit {worker.pid == os.getpid()} {MARK}", flush=True)
"""


def test_settings_and_hooks_of_workers_run_and_a_reload_reads_them_anew(tmp_path: Path, start: Start) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text(SETTINGS)
    running = start("pids:app", "-c", "gunicorn.conf.py")

    assert len(running.ready_workers) == 2
    assert "first post_fork 1 of 2" in running.log
    assert "first post_fork 2 of 2" in running.log
    assert running.output.count("forked True") >= 2
    assert running.output.count("init -") >= 2

    second = SETTINGS.replace("workers = 2", "workers = 3").replace("first", "second")
    file.write_text(second + '    raise RuntimeError("too late")\n')
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    running.wait_workers(3)
    assert "second post_fork 1 of 3" in running.log

    file.write_text("raise SystemExit('not now')\n")
    running.signal(signal.SIGHUP)
    refusal = "reload refused: gunicorn.conf.py:1: SystemExit: not now"
    wait_until(lambda: refusal in running.log, "the reload is refused")
    assert len(running.ready_workers) == 3
    master = running.master.pid
    assert running.stop() == 0
    assert "read by" in running.output + running.log
    assert f"read by {master};" not in running.output + running.log
    assert running.output.count("exit True first") == 2
    assert running.output.count("exit True second") == 3
    # What the last hook raises has its line, and the traceback its own.
    assert (
        len(
            running.find_records(
                "gunicorn.conf.py: worker_exit raised RuntimeError: too late (gunicorn.conf.py, line 16)"
            )
        )
        == 3
    )
    assert running.log.count("\nRuntimeError: too late\n") == 3


def test_a_hook_of_workers_that_raises_fails_the_boot(tmp_path: Path, start: Start) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("def post_fork(server, worker):\n    server.WORKERS\n")
    running = start("pids:app", "-c", "gunicorn.conf.py", wait=False)
    assert running.wait_exit() == 3
    assert (
        "gunicorn.conf.py: post_fork raised AttributeError: prefork's stand-in for gunicorn's server has no WORKERS"
        in running.log
    )


def test_a_file_that_does_not_end_holds_up_nobody_at_a_reload(tmp_path: Path, start: Start) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text("workers = 1\n")
    running = start("pids:app", "-c", "gunicorn.conf.py")
    hangs = "import pathlib, threading\npathlib.Path('asked').touch()\nthreading.Event().wait()\n"

    file.write_text(hangs)
    running.signal(signal.SIGHUP)
    wait_until((tmp_path / "asked").exists, "the file runs")
    assert fastest_status_s(running) < ANSWER_S
    file.write_text("workers = 2\n")
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    assert len(running.wait_workers(2)) == 2

    (tmp_path / "asked").unlink()
    file.write_text(hangs)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "prefork", "reload", "--wait"],
        env=clean_environment() | {"PREFORK_CONTROL": running.control},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "asked").exists, "the file runs")
    assert running.stop() == 0
    assert "the service is stopping" in waiting.communicate(timeout=20)[1]
    assert waiting.returncode == 1
