"""What the tests start is the same prefork as they import, from this tree, whatever else pip has installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    os.environ["PYTHONPATH"] = str(ROOT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true", help="also run the tests that take long and say nearly the same"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without `--thorough`, leave out what is marked so, unless it was asked for by its name."""
    is_asked_for = bool(config.option.keyword) or any("::" in argument for argument in config.args)
    if config.getoption("thorough") or is_asked_for:
        return
    left_out = [item for item in items if is_thorough(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not is_thorough(item)]


def is_thorough(item: pytest.Item) -> bool:
    """Is it marked, or a whole program once more on the other loop?"""
    if item.get_closest_marker("thorough"):
        return True
    call = getattr(item, "callspec", None)
    is_integration = item.path.is_relative_to(ROOT / "tests" / "integration")
    return is_integration and call is not None and call.params.get("loop") == "asyncio"
