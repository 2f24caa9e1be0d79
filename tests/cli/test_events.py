"""`prefork events`: a line as the log has it."""

from __future__ import annotations

from prefork.cli.events import write_event
from prefork.control.requests import Event


def test_fields_are_quoted_as_in_the_log_and_what_is_not_known_is_left_out() -> None:
    event = Event(0.0, "warning", "worker died\n", {"slot": 1, "how": "exit 1", "why": None}, "Traceback\x1b")
    head, detail = write_event(event)
    assert head.endswith(r' WARNING worker died\n slot=1 how="exit 1"')
    assert detail == r"  Traceback\x1b"
