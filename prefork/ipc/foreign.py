"""Text of the app's in our messages: what its import raised, what its threads are called.

It may hold what JSON cannot (a lone surrogate, which stands for a byte of a file name) and be of any length. A message
that cannot be sent, or that the other side refuses as too long, would hide the very error it tells.
"""

from __future__ import annotations

from prefork.errors import AppError, PreforkError

# In characters. One becomes seven bytes of JSON at most, and all of these together stay below the codec's limit.
LINE_MAX = 8000
HINT_MAX = 1000
TRACEBACK_MAX = 16000


def fit(text: str, limit: int = LINE_MAX) -> str:
    """`text` as a message can carry it: the middle left out of what is too long, both ends being what people read."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} … {text[-(limit // 2) :]}"
    return text.encode(errors="backslashreplace").decode()


def describe_failure(error: PreforkError) -> tuple[str, tuple[str, ...], str]:
    """Message, hints and traceback, for `ImportFailed` and `BootFailed`."""
    traceback = error.traceback if isinstance(error, AppError) else ""
    hints = tuple(fit(hint, HINT_MAX) for hint in error.hints)
    return fit(error.message), hints, fit(traceback, TRACEBACK_MAX)
