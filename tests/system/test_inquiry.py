"""Whoever is asked answers, ends or is ended, and keeps nobody waiting."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from prefork.system import inquiry, processes
from prefork.system.inquiry import Answer, Inquiry
from tests.system.children import list_fds

ECHO = """
import os, sys
os.write(int(sys.argv[1]), f"{sys.argv[2]} {os.environ['WHERE']} {os.getsid(0) == os.getpid()}".encode())
"""


def ask(tmp_path: Path, code: str, limit_s: float = 20.0) -> Inquiry:
    script = tmp_path / "script.py"
    script.write_text(code)
    return Inquiry(str(script), ["word"], {**os.environ, "WHERE": "here"}, limit_s)


def test_the_answer_is_what_was_written_and_how_it_ended(tmp_path: Path) -> None:
    assert ask(tmp_path, ECHO).wait() == Answer(b"word here True", is_late=False, how="exit 0")
    assert ask(tmp_path, "raise SystemExit(5)").wait() == Answer(b"", is_late=False, how="exit 5")


def test_one_that_does_not_end_is_ended_and_leaves_no_process(tmp_path: Path) -> None:
    asked = ask(tmp_path, ECHO + "import threading\nthreading.Event().wait()", 1.0)
    pid = asked._pid
    answer = asked.wait()
    assert (answer.is_late, answer.how) == (True, "SIGKILL")
    assert processes.is_gone(pid, None)


def test_nobody_waits_who_only_looks(tmp_path: Path) -> None:
    before = list_fds()
    asked = ask(tmp_path, ECHO)
    assert not asked.receive(), "an interpreter does not start so quickly"
    taken = False
    while not taken:
        assert select.select([asked], [], [], 20)[0], "neither an answer nor an end"
        taken = asked.receive()
    assert asked.end() == Answer(b"word here True", is_late=False)
    processes.wait_for_end(asked._pid)
    assert list_fds() <= before


def test_an_answer_without_end_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiry, "MOST_BYTES", 100_000)
    answer = ask(tmp_path, "import os, sys\nwhile True: os.write(int(sys.argv[1]), b'x' * 9999)").wait()
    assert 100_000 < len(answer.text) <= 100_000 + inquiry.READ_BYTES
    assert answer.how == "SIGKILL"
