"""Agents of the app's that need a thread: started after the fork, each worker has its own."""

from __future__ import annotations

from tests.integration.conftest import Start

EXPORTER = "OtelBatchSpanRecordProcessor"


def test_an_agent_started_by_on_worker_start_lives_in_each_worker(start: Start) -> None:
    running = start("traced:app", "--workers", "2", "--preload", "always")
    seen = {}
    for _ in range(40):
        answer = running.get("/").json()
        seen[answer["slot"]] = answer
        if len(seen) == 2:
            break
    for slot, answer in seen.items():
        assert answer["made_by"] == [[answer["pid"], slot]]
        assert answer["exported"][-1] == ["request", answer["pid"]]
        assert EXPORTER in answer["threads"]
    assert len({answer["pid"] for answer in seen.values()}) == len(seen) > 0
    assert not running.find_records("forking although")


def test_an_agent_started_by_the_import_is_named_and_each_worker_imports(start: Start) -> None:
    running = start("traced:app", env={"TOO_EARLY": "1"})
    assert running.find_records("app left to workers", why=f"the import left thread {EXPORTER}")
    answer = running.get("/").json()
    assert answer["made_by"] == [[answer["pid"], answer["slot"]]]


def test_a_start_hook_that_raises_fails_the_boot_in_the_words_of_the_app(start: Start) -> None:
    running = start("traced:app", env={"BROKEN": "1"}, wait=False)
    assert running.wait_exit() == 3
    assert (
        "error: the on_worker_start hook look raised SystemExit: no collector (traced.py, line" in running.log
    )
