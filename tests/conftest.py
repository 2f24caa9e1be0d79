"""What the tests start is the same prefork as they import, from this tree, whatever else pip has installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INTEGRATION = ROOT / "tests" / "integration"
DOCS = ROOT / "tests" / "docs"
BRIEF = frozenset(
    f"test_{name}"
    for name in (
        "serving",
        "signals",
        "frameworks",
        "operating",
        "background",
        "websockets",
        "tls",
        "top",
        "admin",
    )
)


def pytest_configure() -> None:
    os.environ["PYTHONPATH"] = str(ROOT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true", help="also run the tests that take long and say nearly the same"
    )
    parser.addoption(
        "--brief", action="store_true", help="of the whole program, run what may differ from Python to Python"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what nobody asked for, unless it was asked for by its name."""
    if config.option.keyword or any("::" in argument for argument in config.args):
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        is_left_out = (not config.getoption("thorough") and is_thorough(item)) or (
            config.getoption("brief") and not is_brief(item)
        )
        (left_out if is_left_out else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def is_thorough(item: pytest.Item) -> bool:
    """Is it marked, or a whole program once more on the other loop?"""
    if item.get_closest_marker("thorough"):
        return True
    call = getattr(item, "callspec", None)
    return item.path.is_relative_to(INTEGRATION) and call is not None and call.params.get("loop") == "asyncio"


def is_brief(item: pytest.Item) -> bool:
    """Is it of a unit, or of what a program does that leans on its Python? The words of the docs do not."""
    if item.path.is_relative_to(DOCS):
        return False
    return not item.path.is_relative_to(INTEGRATION) or item.path.stem in BRIEF
