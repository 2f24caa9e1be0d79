"""What the tests start is the same prefork as they import, from this tree, whatever else pip has installed."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    os.environ["PYTHONPATH"] = str(ROOT)
