"""Rotation by size in the real program: no line lost or torn, and nothing stops where it cannot be done."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import Start
from tests.integration.load import Load
from tests.integration.running import wait_until
from tests.integration.test_access_log import Numbered, read_numbers


def test_no_request_loses_its_line_while_the_access_log_is_rotated(start: Start, tmp_path: Path) -> None:
    arguments = ("--workers", "2", "--access-log", "access.log", "--log-max-size", "16K", "--log-keep", "200")
    running = start("hello_asgi:app", *arguments)
    load_for = Numbered()
    with Load(running.address, ask=load_for, threads=4, pause_s=0.0) as load:
        wait_until((tmp_path / "access.log.2").exists, "two rotations")
        answered = load.answered
        wait_until(lambda: load.answered > answered + 200, "more requests")
    assert running.stop() == 0
    assert load.report.lost == 0, load.report
    numbers = read_numbers(*tmp_path.glob("access.log*"))
    assert sorted(numbers) == list(range(1, load.answered + 1))
    assert set(numbers.values()) == {1}
    assert running.find_records("log rotated", path=str(tmp_path / "access.log"))


def test_a_rotation_that_cannot_be_is_one_line_and_the_service_goes_on(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs" / "a.log.1").mkdir(parents=True)  # in the way of any rename, also of root's
    arguments = ("--log-file", "logs/a.log", "--log-max-size", "100", "--log-keep", "1")
    running = start("hello_asgi:app", *arguments, wait=False)
    path = tmp_path / "logs" / "a.log"
    wait_until(lambda: path.exists() and "log not rotated" in path.read_text(), "the complaint")
    text = wait_until(lambda: path.read_text() if "serving" in path.read_text() else "", "serving")
    assert text.count("log not rotated, it goes on growing") == 1
    assert f"path={path}" in text
    assert sorted(each.name for each in path.parent.iterdir()) == ["a.log", "a.log.1"]
    assert running.stop() == 0
    assert path.read_text().endswith("stopped\n")
