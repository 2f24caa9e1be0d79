"""`prefork logs` and `prefork flush` on background masters, as a user has them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

from tests.cli.program import clean_environ
from tests.integration.conftest import Start
from tests.integration.http_client import get
from tests.integration.running import wait_until
from tests.integration.test_background import Background, background  # noqa: F401  # a fixture

TALKING = """
import os, sys
print("imported")
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    print("served", scope["path"])
    print("careful", file=sys.stderr)
    os.write(1, b"raw " + scope["path"].encode() + bytes([10]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""

CONFIGURATION = """
[app.shop]
app = "talking:app"
bind = "unix:shop.sock"
access-log = "access.log"

[app.api]
app = "talking:app"
bind = "unix:api.sock"
log-format = "json"
"""


def write_apps(background: Background) -> None:  # noqa: F811  # the fixture
    (background.folder / "talking.py").write_text(TALKING)
    (background.folder / "prefork.toml").write_text(CONFIGURATION)


def test_what_each_service_said_is_shown_while_it_runs_and_afterwards(
    background: Background,  # noqa: F811  # the fixture
) -> None:
    write_apps(background)
    nothing = background.run("logs", "shop")
    assert nothing.code != 0
    assert nothing.stderr.startswith("error: shop has not logged anything")
    assert background.run("start").code == 0
    for name in ("shop", "api"):
        get(str(background.folder / f"{name}.sock"), "/one")
    (pid,) = {child.pid for child in background.master("shop").children(recursive=True)} & {
        json.loads(line)["pid"]
        for line in background.run("logs", "shop", "--worker", "0", "--json").stdout.splitlines()
        if "served" in line
    }
    said = background.run("logs", "shop", "--worker", str(pid), "-n", "2").stdout
    assert f"[{pid}] [OUT] slot=0 served /one\n" in said
    assert f"[{pid}] [ERR] slot=0 careful\nraw /one\n" in said  # raw: after what was there
    assert "careful" in background.run("logs", "shop", "--err").stdout
    assert "served" not in background.run("logs", "shop", "--err").stdout
    both = background.run("logs").stdout
    assert "shop | [" in both
    assert 'api | {"time"' in both
    for line in background.run("logs", "--json").stdout.splitlines():
        assert json.loads(line)["name"] in {"shop", "api"}
    assert '"GET /one HTTP/1.1" 200' in background.run("logs", "shop", "--access").stdout
    background.stop("shop")
    assert background.run("logs", "shop", "-n", "1").stdout.endswith("stopped\n")


def test_a_log_is_followed_through_a_rotation_and_a_flush(background: Background) -> None:  # noqa: F811
    write_apps(background)
    assert background.run("start", "shop").code == 0
    log = background.state / "shop.log"
    following = subprocess.Popen(
        [sys.executable, "-m", "prefork", "logs", "shop", "-f", "-n", "1"],
        cwd=background.folder,
        env=clean_environ(XDG_STATE_HOME=str(background.folder / "state")),
        stdout=subprocess.PIPE,
    )
    assert following.stdout is not None
    seen = b""

    def has_seen(words: bytes) -> bool:
        nonlocal seen
        assert following.stdout is not None
        while select.select([following.stdout], [], [], 0.02)[0]:
            seen += os.read(following.stdout.fileno(), 65536)
        return words in seen

    try:
        wait_until(lambda: has_seen(b"serving"), "the last line")
        get(str(background.folder / "shop.sock"), "/one")
        log.rename(log.with_suffix(".log.1"))
        background.master("shop").send_signal(signal.SIGUSR1)
        wait_until(lambda: has_seen(b"log reopened"), "the new file")
        get(str(background.folder / "shop.sock"), "/two")
        wait_until(lambda: has_seen(b"raw /two\n"), "a line from below Python")
        assert b"raw /two\n" in log.read_bytes(), "standard output leads to the new file"
        flushed = background.run("flush", "shop")
        assert flushed.code == 0
        assert f"emptied {log}" in flushed.stdout
        assert log.stat().st_size == 0
        assert not log.with_suffix(".log.1").exists()
        has_seen(b"")
        get(str(background.folder / "shop.sock"), "/three")
        wait_until(lambda: has_seen(b"served /three\n"), "a line after the flush")
        assert log.read_bytes().startswith(b"["), "no hole where the old lines were"
    finally:
        following.terminate()
        following.wait(10)
        following.stdout.close()
    for word in (b"one", b"two", b"three"):
        assert seen.count(b"served /" + word + b"\n") == 1


def test_a_service_in_the_foreground_says_itself_where_it_logs_to(
    background: Background,  # noqa: F811  # the fixture
    start: Start,
) -> None:
    folder = background.folder
    where = {"PREFORK_CONTROL": str(folder)}
    (folder / "prefork.toml").unlink()
    running = start(
        *("hello_asgi:app", "--name", "shop", "--log-file", "own.log", "--access-log", "asked.log"),
        env=where,
        wait=False,
    )
    wait_until(lambda: "serving" in background.run("logs", "shop", env=where).stdout, "its log")
    silent = start("hello_asgi:app", "--name", "silent", env=where)
    get(silent.address, "/")
    ended = background.run("logs", "silent", env=where)
    assert ended.code == 1
    assert ended.stderr.startswith("error: silent logs to standard error, not to a file\n")
    ended = background.run("logs", "-n", "1", env=where)
    assert ended.stdout.startswith("shop | [")
    flushed = background.run("flush", "shop", env=where)
    assert flushed.stdout.count("shop: emptied ") == 2
    assert (folder / "own.log").stat().st_size == 0
    assert running.stop() == 0
