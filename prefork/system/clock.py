"""The clocks. For time that passes there is one: monotonic seconds, the same in every process since boot
(clock_gettime(2)).
"""

from __future__ import annotations

import time

monotonic = time.monotonic
"""Seconds; does not count a suspended machine on Linux, never goes back."""

monotonic_ns = time.monotonic_ns
"""The same in whole nanoseconds."""

wall_ns = time.time_ns
"""Nanoseconds of the clock that files are stamped by; may be set, so never for measuring time."""

cpu_s = time.process_time
"""Seconds of CPU that this process has used."""

wall_s = time.time
"""The same in seconds, for people."""

fine_s = time.perf_counter
"""Seconds at the highest resolution, for measuring what takes less than a millisecond."""

thread_cpu_ns = time.thread_time_ns
"""Nanoseconds of CPU that the calling thread has used."""
