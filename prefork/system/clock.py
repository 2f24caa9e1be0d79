"""The one clock: monotonic seconds, the same in every process of the machine since boot (clock_gettime(2))."""

from __future__ import annotations

import time

monotonic = time.monotonic
"""Seconds; does not count a suspended machine on Linux, never goes back."""

monotonic_ns = time.monotonic_ns
"""The same in whole nanoseconds."""
