"""The app's words with prefork: when it is ready, why it has to go, and what workers tell each other."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.load import Load
from tests.integration.running import Running, read_title, wait_until

GRACEFUL_S = 10.0
QUICK_S = 3.0


def read_told(running: Running, key: str = "told", **fields: object) -> list[dict[str, Any]]:
    """What the app printed with this key, of those lines whose fields are as given."""
    lines = [json.loads(line) for line in running.output.splitlines() if line.endswith("}")]
    return [line for line in lines if key in line and fields.items() <= line.items()]


def find_worker(running: Running, slot: int) -> psutil.Process:
    return next(worker for worker in running.ready_workers if f" slot={slot} " in read_title(worker))


def ask(running: Running, path: str) -> Any:
    return running.get(path, timeout_s=30).json()


# on_shutdown


@pytest.mark.parametrize(
    ("number", "reason", "least_left_s"),
    [(signal.SIGTERM, "SIGTERM", 8.0), (signal.SIGINT, "quick stop", 0.3)],
)
def test_hooks_are_told_why_the_service_stops_and_until_when(
    start: Start, number: signal.Signals, reason: str, least_left_s: float
) -> None:
    running = start("speaking:app", "--workers", "2", "--graceful-timeout", f"{GRACEFUL_S}")

    running.signal(number)

    assert running.wait_exit() == 0
    for slot in (0, 1):
        told = read_told(running, slot=slot)
        assert [(hook["told"], hook.get("reason")) for hook in told] == [
            ("sync", reason),
            ("async", reason),
            ("done", None),
        ]
        assert all(least_left_s <= hook["left"] < GRACEFUL_S for hook in told[:2])
    lines = [json.loads(line) for line in running.output.splitlines() if '"slot": 0' in line]
    assert lines[-1]["lifespan"] == "shutdown", "only after every hook has ended"


def test_hooks_are_told_of_a_reload_and_of_scaling_down(start: Start) -> None:
    running = start("speaking:app", "--workers", "2", "--settle", "0.1")

    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    running.wait_workers(2)
    assert {(hook["gen"], hook["slot"], hook["reason"]) for hook in read_told(running, told="sync")} == {
        (1, 0, "reload"),
        (1, 1, "reload"),
    }

    running.signal(signal.SIGTTOU)
    running.wait_workers(1)
    assert [hook["reason"] for hook in read_told(running, told="sync", gen=2)] == ["scale-down"]


def test_hooks_are_told_of_a_term_of_the_workers_own(start: Start) -> None:
    running = start("speaking:app", "--workers", "1")

    running.workers[0].send_signal(signal.SIGTERM)

    wait_until(lambda: read_told(running, told="done"), "the end of the hooks")
    assert [hook["reason"] for hook in read_told(running, told="sync")] == ["SIGTERM"]
    running.wait_for_record("worker ready", count=2)


def test_a_request_in_flight_goes_on_beside_the_hooks(start: Start) -> None:
    running = start("speaking:app")
    with Connection(running.address) as connection:
        connection.send(b"GET /sleep?s=0.8 HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until(
            lambda: "ESTABLISHED" in str(running.workers[0].net_connections()), "an accepted connection"
        )
        running.signal(signal.SIGTERM)

        wait_until(lambda: read_told(running, told="done"), "the end of the hooks")
        assert not read_told(running, "lifespan"), "the request is still being answered"

        assert connection.read_response().status == 200
    assert running.wait_exit() == 0
    assert read_told(running, "lifespan")


def test_what_hooks_raise_is_logged_and_hurts_nobody(start: Start) -> None:
    running = start("speaking:app", env={"HOOK": "raises"})

    assert running.stop() == 0

    assert [record.fields["hook"] for record in running.find_records("shutdown hook raised")] == [
        "told",
        "told_too",
    ]
    assert "SystemExit: the sync hook ends it" in running.log
    assert "ValueError: the async hook is broken" in running.log
    assert read_told(running, "lifespan")
    assert "killed" not in running.log


@pytest.mark.parametrize("hook", ["hangs", "clings"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_hook_that_does_not_end_is_cancelled_in_time(
    start: Start, hook: str, number: signal.Signals
) -> None:
    running = start("speaking:app", "--workers", "2", "--graceful-timeout", "4s", env={"HOOK": hook})

    running.signal(number)

    assert running.wait_exit(4 + QUICK_S) == 0
    cancelled = running.find_records("shutdown hook cancelled, its time was over")
    assert [record.fields["hook"] for record in cancelled] == ["told_too"] * 2
    assert not running.find_records("worker killed"), running.log
    assert {record.fields["how"] for record in running.find_records("worker exited")} == {"exit 0"}
    assert len(read_told(running, "lifespan")) == 2


def test_a_second_term_does_not_wait_for_hooks(start: Start) -> None:
    running = start("speaking:app", env={"HOOK": "hangs"})
    running.signal(signal.SIGTERM)
    wait_until(lambda: read_told(running, told="async"), "the hook")

    running.signal(signal.SIGTERM)

    assert running.wait_exit(QUICK_S) == 0
    assert not running.find_records("worker killed"), running.log
    assert read_told(running, "lifespan")


# ready


@pytest.mark.parametrize(
    ("where", "app", "preload"),
    [
        ("import", "readying:app", "auto"),
        ("import", "readying:app", "never"),
        ("import", "readying:wsgi", "auto"),
        ("lifespan", "readying:app", "auto"),
        ("task", "readying:app", "auto"),
        ("thread", "readying:wsgi", "never"),
    ],
)
def test_a_worker_is_ready_when_its_app_says_so(
    start: Start, tmp_path: Path, where: str, app: str, preload: str
) -> None:
    (tmp_path / "ready_from").write_text(where)
    running = start(app, "--wait-ready", "--workers", "2", "--preload", preload)

    assert running.get().body == b"ready"
    took_ms = [int(record.fields["boot_ms"]) for record in running.find_records("worker ready")]
    assert len(took_ms) == 2
    if where in {"task", "thread"}:
        assert min(took_ms) >= 150, "it waited for the word"
    assert running.stop() == 0


def test_a_word_that_never_comes_at_the_start_is_an_error(start: Start, tmp_path: Path) -> None:
    (tmp_path / "ready_from").write_text("never")
    began = time.monotonic()
    running = start("readying:app", "--wait-ready", "--boot-timeout", "1s", wait=False)

    assert running.wait_exit() == 3
    assert time.monotonic() - began < 10
    assert "not ready within 1 s" in running.log


def test_a_word_that_never_comes_at_a_reload_keeps_the_old_generation(start: Start, tmp_path: Path) -> None:
    (tmp_path / "ready_from").write_text("import")
    running = start("readying:app", "--wait-ready", "--boot-timeout", "2s", "--workers", "2")
    before = {worker.pid for worker in running.workers}

    with Load(running.address, b"ready") as load:
        (tmp_path / "ready_from").write_text("never")
        running.signal(signal.SIGHUP)
        running.wait_for_record("reload failed")
    assert load.report.lost == 0, load.report
    assert {worker.pid for worker in running.wait_workers(2)} == before


def test_without_wait_ready_nobody_waits_for_the_word(start: Start, tmp_path: Path) -> None:
    (tmp_path / "ready_from").write_text("never")
    assert start("readying:app").get().body == b"ready"


def test_a_worker_that_waits_for_the_word_can_be_stopped(start: Start, tmp_path: Path) -> None:
    (tmp_path / "ready_from").write_text("never")
    running = start("readying:app", "--wait-ready", wait=False)
    wait_until(lambda: running.workers, "a worker")
    assert running.stop() == 0


# retire, and recycling


def check_replacements(running: Running) -> None:
    """Whoever left had asked, and was gone only after its successor in its slot was ready."""
    events = [(r.event, r.fields.get("slot"), r.fields.get("pid")) for r in running.records]
    asked = [event for event in events if event[0] == "worker retires"]
    for _, slot, pid in asked:
        begun = events.index(("worker retires", slot, pid))
        if ("worker exited", slot, pid) in events:
            ended = events.index(("worker exited", slot, pid))
            assert ("worker ready", slot) in [event[:2] for event in events[begun:ended]], running.log
    exited = {event[2] for event in events if event[0] == "worker exited"}
    assert exited <= {pid for _, _, pid in asked}


def test_who_retires_is_replaced_first_and_told_its_own_words(start: Start) -> None:
    running = start("speaking:app", "--workers", "2", "--min-uptime", "0.1")

    with Load(running.address, lambda response: response.status == 200) as load:
        for count in range(1, 4):
            for _ in range(3):  # asking again changes nothing
                assert ask(running, "/retire?reason=" + quote("cache is\npoisoned")) is True
            running.wait_for_record("worker exited", count=count)
    assert load.report.lost == 0, load.report
    assert {hook["reason"] for hook in read_told(running, told="sync")} == {"cache is\\npoisoned"}
    running.wait_workers(2)
    check_replacements(running)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--max-requests", "300", "--max-requests-jitter", "100"), "max-requests"),
        (("--max-age", "1s"), "max-age"),
    ],
)
def test_recycling_under_load_loses_nothing_and_the_successor_is_ready_first(
    start: Start, options: tuple[str, ...], reason: str
) -> None:
    running = start("speaking:app", "--workers", "3", "--min-uptime", "0.1", *options)

    with (
        Load(running.address, lambda response: response.status == 200, threads=3) as kept,
        Load(running.address, lambda response: response.status == 200, keep_alive=False, threads=3) as fresh,
    ):
        running.wait_for_record("worker exited", count=6, timeout_s=60)
    assert (kept.report.lost, fresh.report.lost) == (0, 0), (kept.report, fresh.report)
    assert {r.fields["reason"] for r in running.find_records("worker retires")} == {reason}
    assert {hook["reason"] for hook in read_told(running, told="sync")} == {reason}
    check_replacements(running)
    assert running.stop() == 0


def test_a_worker_that_holds_too_much_memory_of_its_own_is_replaced(start: Start) -> None:
    running = start("speaking:app", "--workers", "2", "--max-memory", "200M", "--min-uptime", "0.1")

    grown = ask(running, "/grow?megabytes=250")

    record = running.wait_for_record("worker retires")
    assert int(record.fields["slot"]) == grown
    assert re.fullmatch(r"max-memory 2[5-9]\dM of 200M", record.fields["reason"])
    running.wait_for_record("worker exited", pid=record.fields["pid"])
    running.wait_workers(2)
    assert len(running.find_records("worker retires")) == 1
    check_replacements(running)


# send and on_message


def test_a_message_reaches_every_other_worker(start: Start) -> None:
    running = start("speaking:app", "--workers", "3")
    message = {"drop": ["prices", 3, 1.5, None, True, "ünï\n"]}

    assert ask(running, f"/send?message={quote(json.dumps(message))}") is True

    wait_until(lambda: len(read_told(running, "heard")) == 2, "both")
    heard = read_told(running, "heard")
    [sender] = {line["sender"] for line in heard}
    assert {line["slot"] for line in heard} == {0, 1, 2} - {sender}
    assert [line["heard"] for line in heard] == [message] * 2


def test_a_message_for_one_slot_reaches_that_one_alone(start: Start) -> None:
    running = start("speaking:app", "--workers", "3")
    for number in range(20):  # some are from the addressee itself, and those are nobody's
        ask(running, f"/send?message={number}&to=1")
    ask(running, "/send?message=99&to=7")

    record = running.wait_for_record("messages dropped")
    assert int(record.fields["absent"]) >= 1
    assert {line["slot"] for line in read_told(running, "heard")} == {1}
    assert all(line["sender"] != 1 for line in read_told(running, "heard"))


def test_messages_go_on_during_a_reload(start: Start) -> None:
    running = start("speaking:app", "--workers", "3", "--settle", "0.1")
    sent = 0
    reloads = 0
    while reloads < 3:
        running.signal(signal.SIGHUP)
        while len(running.find_records("reloaded")) == reloads:
            assert ask(running, f"/send?message={sent}") is True
            sent += 1
        reloads += 1
    running.wait_workers(3)
    ask(running, "/send?message=-1")
    wait_until(lambda: len(read_told(running, "heard", heard=-1)) == 2, "the last message")
    heard = {line["heard"] for line in read_told(running, "heard")}
    assert heard == {*range(sent), -1}, "each was heard by somebody"
    assert "misbehaved" not in running.log


def test_a_worker_that_does_not_read_costs_nobody_anything(start: Start) -> None:
    running = start("speaking:app", "--workers", "3", "--timeout", "0")
    stopped = find_worker(running, 1)
    before = most = running.master.memory_info().rss
    slowest_s = 0.0
    answers: list[Any] = []
    stopped.suspend()
    flood = threading.Thread(
        target=lambda: answers.append(ask(running, "/flood?size=60000&megabytes=50")), daemon=True
    )
    flood.start()
    asked = 0
    while flood.is_alive():
        began = time.monotonic()
        asked += 1
        running.signal(signal.SIGUSR1)
        running.wait_for_record("no log file to reopen", count=asked)
        slowest_s = max(slowest_s, time.monotonic() - began)
        most = max(most, running.master.memory_info().rss)
    assert answers, "50 MB were taken"
    assert asked >= 3
    assert slowest_s < 2, "the master answers meanwhile"
    assert (most - before) / 2**20 < 16, "MB more"
    stopped.resume()
    assert running.find_records("messages dropped")
    ask_until_heard(running)
    assert not running.find_records("worker condemned")


def test_a_flood_of_small_messages_slows_down_its_sender_alone(start: Start) -> None:
    running = start("speaking:app", "--workers", "3")
    began = time.monotonic()
    refused = ask(running, "/flood?size=40&megabytes=0.5")  # 13,000 messages, some of which wait in buffers
    took_s = time.monotonic() - began
    assert took_s > 2, "it is not faster than 2,000 a second"
    assert refused > 0, "and is told so"
    assert len(running.find_records("worker ready")) == 3


def ask_until_heard(running: Running) -> None:
    """Somebody says something, until everybody has heard something."""

    def look() -> bool:
        ask(running, "/send?message=1")
        return {line["slot"] for line in read_told(running, "heard")} == {0, 1, 2}

    wait_until(look, "a message in every worker")


def test_the_example_forgets_everywhere_at_once(start: Start) -> None:
    example = Path(__file__).parents[2] / "conf" / "examples" / "shared_cache.py"
    running = start(str(example), "--workers", "2", "--wait-ready", "--min-uptime", "0.1")
    first = {running.get().body for _ in range(20)}

    def has_forgotten() -> bool:  # prices change with the second
        with Connection(running.address) as connection:
            connection.request(method="POST")
        return not first & {running.get().body for _ in range(20)}

    wait_until(has_forgotten, "another price everywhere")
    with Connection(running.address) as connection:
        connection.request(method="DELETE")
    running.wait_for_record("worker retires", reason="its cache is beyond repair")
    running.wait_for_record("worker ready", count=3)
    assert running.stop() == 0
    assert "goes: its cache is beyond repair" in running.output
    assert "goes: SIGTERM" in running.output
