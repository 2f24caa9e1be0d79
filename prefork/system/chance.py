"""The one source of randomness, for jitter. The `random` module would cost the master half a megabyte."""

from __future__ import annotations

import os


def draw() -> float:
    """A number in [0, 1)."""
    return int.from_bytes(os.urandom(4), "big") / 2**32
