"""What an app leaves behind, children and threads, holds neither the port nor the stop."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.running import wait_until


@pytest.mark.parametrize("preload", ["auto", "never"])
def test_what_the_app_forked_does_not_keep_the_port(start: Start, tmp_path: Path, preload: str) -> None:
    running = start("forks_children:app", "--workers", "2", "--preload", preload)
    try:
        assert running.get("/fork").status == 200
        with Connection(running.address) as connection:
            assert connection.request("/").status == 200
        assert running.stop() == 0
        with pytest.raises(ConnectionRefusedError):
            running.get()
    finally:
        for pid in map(int, (tmp_path / "children").read_text().split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.wait_gone()


def test_a_thread_that_never_ends_is_named_and_left_behind_in_time(start: Start) -> None:
    running = start("lingering_thread:app", "--graceful-timeout", "2s")
    assert running.get().status == 200
    begun = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - begun < 4
    assert running.find_records("threads of the app's did not end", threads="exporter")
    assert not running.find_records("worker condemned")
    running.wait_gone()


LIFESPAN = """
import contextlib

@contextlib.asynccontextmanager
async def connect():
    raise RuntimeError("no db")
    yield

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    try:
        async with connect():
            pass
    except BaseException:
        import traceback
        await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
        raise
"""


def test_a_startup_that_fails_as_frameworks_do_is_told_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "starts.py").write_text("from hello_asgi import app\n")
    running = start("starts:app", "--workers", "2")
    (tmp_path / "starts.py").write_text(LIFESPAN)
    running.signal(signal.SIGHUP)
    running.wait_for_record("reload failed")
    wait_until(lambda: "RuntimeError: no db" in running.log, "the reason")
    assert running.log.count("Traceback") == 1, running.log
    why = running.find_records("reload failed")[0].fields["why"]
    assert re.search(r"the app's startup failed: RuntimeError: no db", why)
    assert "\\n" not in why
    assert running.get().status == 200
