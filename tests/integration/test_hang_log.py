"""What hangs is told of while it does, with the line of the user's code, and nobody is killed for it."""

from __future__ import annotations

from tests.integration.conftest import Start
from tests.integration.http_client import Connection
from tests.integration.running import Running

SLOW = ("--slow", "0.2s")


def read_detail(running: Running, line: str) -> str:
    """The lines that follow this one and are no records of their own."""
    rest = running.log.split(line + "\n", 1)[1]
    return rest.partition("\n[")[0]


def test_a_loop_that_is_held_is_told_of_with_the_line_that_holds_it(start: Start) -> None:
    running = start("hanging:app", *SLOW)
    pid = running.ready_workers[0].pid
    assert running.get("/hold").body == b"done"
    told = running.wait_for_record("worker is slow", slot=0, pid=pid)
    assert int(told.fields["stalled_ms"]) >= 200
    assert told.level == "WARNING"
    assert 'hanging.py", line 12 in hold_long' in read_detail(running, told.line)
    running.wait_for_record("worker runs again", slot=0, pid=pid)
    assert [worker.pid for worker in running.workers] == [pid]
    assert running.stop() == 0
    assert len(running.find_records("worker is slow")) == 1


def test_a_request_that_waits_is_told_of_with_its_stack_and_then_with_its_length(start: Start) -> None:
    running = start("hanging:app", *SLOW)
    with Connection(running.address) as connection:
        for path, code in (("/await", "await wait_long(0.6)"), ("/thread", "time.sleep(seconds)")):
            connection.request(path)
            told = running.wait_for_record("request is slow", method="GET", path=path, slot=0)
            assert code in read_detail(running, told.line)
            assert 200 <= int(told.fields["ms"]) < 600
            ended = running.wait_for_record("slow request", path=path, status=200)
            assert int(ended.fields["ms"]) >= 600
        connection.request("/stream")
        connection.request("/")
    assert running.stop() == 0
    assert not running.find_records("request is slow", path="/stream"), "what is streamed was answered"
    assert not running.find_records("request is slow", path="/")


def test_a_wsgi_thread_that_hangs_shows_its_own_stack(start: Start) -> None:
    running = start("hanging:wsgi", "--threads", "2", *SLOW)
    assert running.get("/x").status == 201
    told = running.wait_for_record("request is slow", path="/x")
    assert "time.sleep(seconds)" in read_detail(running, told.line)
    running.wait_for_record("slow request", path="/x", status=201)


def test_zero_tells_of_nothing(start: Start) -> None:
    running = start("hanging:app", "--slow", "0")
    for path in ("/hold", "/await"):
        assert running.get(path).body == b"done"
    assert running.stop() == 0
    assert "slow" not in running.log
