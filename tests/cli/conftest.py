"""Nothing in the environment of whoever runs the tests configures the program under test."""

from __future__ import annotations

import os

import pytest

from tests.cli.program import clean_environ


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(clean_environ()):
        monkeypatch.delenv(name)
