"""Suggestions that help, and none that do not."""

from __future__ import annotations

import pytest

from prefork.config.nearest import find_nearest
from prefork.config.options import NAMES

COMMANDS = ("run", "start", "stop", "check", "config", "version")


@pytest.mark.parametrize(
    ("name", "known", "nearest"),
    [
        ("wrokers", NAMES, "workers"),
        ("worker", NAMES, "workers"),
        ("grace-timeout", NAMES, "graceful-timeout"),
        ("keepalive", NAMES, "keep-alive"),
        ("access-log-forma", NAMES, "access-log-format"),
        ("stpo", COMMANDS, "stop"),
        ("chek", COMMANDS, "check"),
        ("vers", COMMANDS, "version"),
        ("least-conn", ("round-robin", "least-connections"), "least-connections"),
        # These have letters in common with something, and nothing else.
        ("master", NAMES, None),
        ("daemonize", NAMES, None),
        ("colour", NAMES, None),
        ("serve", COMMANDS, None),
        ("app", COMMANDS, None),
        ("st", COMMANDS, None),
    ],
)
def test_only_what_is_really_near_is_suggested(
    name: str, known: tuple[str, ...], nearest: str | None
) -> None:
    assert find_nearest(name, known) == nearest
