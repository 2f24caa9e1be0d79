"""At a terminal: a short banner, and a Ctrl-C that ends everything without a word too many."""

from __future__ import annotations

import re

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.running import LINE

BANNER_LINES_AT_MOST = 6


def test_ctrl_c_stops_cleanly(start: Start) -> None:
    running = start("sleepy:app", "--workers", "3", terminal=True)
    running.find_processes()
    with Connection(running.address) as busy:
        busy.send(b"GET /?s=60 HTTP/1.1\r\nHost: test\r\n\r\n")
        running.type("\x03")
        assert running.wait_exit(3) == 0
    running.wait_gone()
    assert running.clean_up() == []
    assert "Traceback" not in running.log
    assert "KeyboardInterrupt" not in running.log
    assert running.find_records("stopped")


def test_an_impatient_ctrl_c_is_clean_too(start: Start) -> None:
    running = start("slow_import:app", terminal=True, wait=False, env={"IMPORT_S": "30"})
    running.wait_for_record("listening")
    running.type("\x03\x03\x03")
    running.wait_exit(5)
    running.wait_gone()
    assert "Traceback" not in running.log


def test_the_banner_is_short_and_only_for_terminals(start: Start) -> None:
    at_terminal = start("hello_asgi:app", terminal=True)
    elsewhere = start("hello_asgi:app")

    shown = [line for line in at_terminal.log.splitlines() if not LINE.match(line) and line.strip()]
    assert 1 <= len(shown) <= BANNER_LINES_AT_MOST
    assert f"127.0.0.1:{at_terminal.port}" in "\n".join(shown)
    assert [line for line in elsewhere.log.splitlines() if not LINE.match(line)] == []
    assert elsewhere.output == ""


def test_colours_are_for_terminals_only_and_can_be_turned_off(start: Start) -> None:
    plain = start("hello_asgi:app", terminal=True, env={"NO_COLOR": "1"})
    elsewhere = start("hello_asgi:app")

    for running in (plain, elsewhere):
        assert re.search(rb"\x1b\[[0-9;]*m", running.log_path.read_bytes()) is None
