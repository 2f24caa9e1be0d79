"""`--balance module:function`: a strategy of the user's chooses, in a process of its own, and can do no harm."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.load import MixedLoad
from tests.integration.running import Running, wait_until


def ask(running: Running) -> str:
    return running.get().body.decode()


def find_chooser(running: Running) -> psutil.Process:
    return running.find_role("chooser")[0]


def test_it_chooses_and_the_master_runs_none_of_its_code(start: Start) -> None:
    running = start("handed:app", "--workers", "3", "--balance", "choosers:highest_slot")
    running.wait_for_record("strategy loaded", strategy="choosers:highest_slot")
    assert {ask(running) for _ in range(20)} == {"2"}
    assert find_chooser(running).ppid() == running.pid
    with ExitStack() as opened:
        burst = [opened.enter_context(Connection(running.address)) for _ in range(100)]
        assert {connection.request().body for connection in burst} == {b"2"}
    assert running.stop() == 0
    running.wait_gone()


def test_behind_a_proxy_it_is_told_the_clients_address(start: Start) -> None:
    running = start(
        *("slots:handler", "--workers", "3", "--proxy-protocol", "--balance", "choosers:by_last_digit")
    )
    running.wait_for_record("strategy loaded")
    with ExitStack() as opened:
        clients = [
            opened.enter_context(socket.create_connection(("127.0.0.1", running.port), 10)) for _ in range(9)
        ]
        for number, client in enumerate(clients):
            client.sendall(b"PROXY TCP4 192.0.2.%d 198.51.100.2 56324 443\r\n" % number)
        assert [client.recv(1) for client in clients] == [b"0", b"1", b"2"] * 3
    assert running.find_records("strategy raised, taking turns") == []


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (
            "choosers:nobody",
            "choosers:nobody is no strategy: TypeError: it chose None, not one of the candidates",
        ),
        ("choosers:not_callable", "choosers:not_callable is an int: it cannot be called"),
        ("choosers:highest_slo", 'no attribute "highest_slo" in choosers'),
        ("no_such_module:choose", 'no module named "no_such_module"'),
    ],
)
def test_one_that_cannot_be_used_is_refused_before_anything_starts(
    start: Start, strategy: str, said: str
) -> None:
    running = start("handed:app", "--balance", strategy, wait=False)
    assert running.wait_exit() == 78
    assert f"error: --balance {strategy}: {said}" in running.log
    assert running.log.count("\n") <= 4
    assert "Traceback" not in running.log
    running.wait_gone()


@pytest.mark.parametrize(("strategy", "code"), [("choosers:highest_slot", 0), ("choosers:nobody", 78)])
def test_check_says_whether_it_can_be_used(start: Start, strategy: str, code: int) -> None:
    running = start("check", "handed:app", "--balance", strategy, wait=False)
    assert running.wait_exit() == code
    assert ("strategy ok: choosers:highest_slot" in running.output) is (code == 0)
    assert ("is no strategy" in running.log) is (code == 78)


@pytest.mark.parametrize(
    ("strategy", "event"),
    [
        ("choosers:raises_later", "strategy raised, taking turns"),
        ("choosers:hangs_later", "strategy slow, taking turns"),
    ],
)
def test_one_that_raises_or_hangs_is_told_once_and_workers_take_turns(
    start: Start, strategy: str, event: str
) -> None:
    running = start("handed:app", "--workers", "2", "--balance", strategy)
    running.wait_for_record("strategy loaded")
    began = time.monotonic()
    assert Counter(ask(running) for _ in range(20)) == {"0": 10, "1": 10}
    assert time.monotonic() - began < 3
    assert len(running.find_records(event)) == 1
    assert running.stop() == 0
    running.wait_gone()


def test_when_its_process_dies_workers_take_turns_and_a_reload_brings_it_back(start: Start) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "choosers:highest_slot", "--settle", "0")
    running.wait_for_record("strategy loaded")
    os.kill(find_chooser(running).pid, signal.SIGKILL)
    running.wait_for_record("strategy lost, taking turns")
    assert Counter(ask(running) for _ in range(10)) == {"0": 5, "1": 5}
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    assert {ask(running) for _ in range(10)} == {"1"}


def ask_ten(running: Running, slot: str) -> set[str]:
    """Where ten connections in a row go. If the log says that the strategy was late, some went by turns: ten more are
    asked, until none is late.
    """
    found = {ask(running) for _ in range(10)}
    if found != {slot} and running.find_records("strategy slow, taking turns"):
        wait_until(lambda: {ask(running) for _ in range(10)} == {slot}, f"ten in a row for slot {slot}")
        return {slot}
    return found


def test_a_reload_brings_its_new_code_and_is_refused_if_that_is_broken(start: Start, tmp_path: Path) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "choosers:highest_slot", "--settle", "0")
    running.wait_for_record("strategy loaded")
    code = tmp_path / "choosers.py"
    code.write_text("def highest_slot(candidates, address):\n    return candidates[0]\n")
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    assert ask_ten(running, "0") == {"0"}
    pids = {worker.pid for worker in running.ready_workers}
    code.write_text("nothing of that name\n")
    running.signal(signal.SIGHUP)
    why = "choosers could not be imported: SyntaxError: invalid syntax (choosers.py, line 1)"
    running.wait_for_record(f"reload refused: --balance choosers:highest_slot: {why}")
    assert ask_ten(running, "0") == {"0"}
    assert {worker.pid for worker in running.ready_workers} == pids
    # Of another length: Python takes a file of the same second and size for the one that it has compiled.
    code.write_text("def highest_slot(candidates, address):\n    return candidates[-1]\n")
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded", count=2)
    assert ask_ten(running, "1") == {"1"}
    assert len(running.find_role("chooser")) == 1


def test_a_reload_that_fails_later_keeps_the_strategy_that_was_there(start: Start, tmp_path: Path) -> None:
    running = start("handed:app", "--workers", "2", "--balance", "choosers:highest_slot", "--settle", "0")
    running.wait_for_record("strategy loaded")
    (tmp_path / "choosers.py").write_text(
        "def highest_slot(candidates, address):\n    return candidates[0]\n"
    )
    (tmp_path / "handed.py").write_text("broken\n")
    running.signal(signal.SIGHUP)
    running.wait_for_record("reload failed")
    assert ask_ten(running, "1") == {"1"}
    wait_until(lambda: len(running.find_role("chooser")) == 1, "the end of the one that is not needed")


def test_reloads_under_load_lose_nothing(start: Start) -> None:
    running = start("echoes:app", "--workers", "2", "--balance", "choosers:highest_slot", "--settle", "0")
    with MixedLoad(running.address) as load:
        for number in range(2):
            running.signal(signal.SIGHUP)
            running.wait_for_record("reloaded", count=number + 1)
            answered = load.answered
            wait_until(lambda: load.answered > answered, "answers of every kind")  # noqa: B023 at once
    assert load.report.lost == 0, load.report
    assert running.stop() == 0
