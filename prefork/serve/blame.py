"""Whose fault was it, and where? An exception of the app's, told in one line and in the user's frames.

Never shows a frame of the import system's or of ours: nobody can mend anything there.
"""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_LINE = 300

_OURS = f"{Path(__file__).parent.parent}{os.sep}"
_IMPORT_SYSTEM = ("<frozen importlib", "<frozen runpy", f"{Path(importlib.__file__).parent}{os.sep}")


@dataclass(frozen=True, slots=True)
class Blame:
    """An exception, for people."""

    what: str
    """`ModuleNotFoundError: No module named 'redis'`: one line, whatever the exception said."""
    place: str
    """`main.py, line 3`: the deepest frame of the user's own; empty if no frame is the user's."""
    traceback: str
    """As Python prints it, without our frames; empty if no frame is the user's."""

    @property
    def line(self) -> str:
        """`what (place)`."""
        return f"{self.what} ({self.place})" if self.place else self.what


def find_blame(error: BaseException, root: Path) -> Blame:
    """Tell `error`. A file below the directory `root` is the user's own, and named relative to it."""
    told = traceback.TracebackException.from_exception(error)
    for link in _walk_chain(told):
        link.stack = traceback.StackSummary.from_list([frame for frame in link.stack if _is_theirs(frame)])
    first_line = next(iter(_say(error).splitlines()), "")
    what = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    place = _find_place(error, told.stack, root)
    return Blame(what[:MAX_LINE], place, "".join(told.format()).rstrip() if place else "")


def _say(error: BaseException) -> str:
    # A SyntaxError's own text repeats the file and line that we say ourselves.
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _is_theirs(frame: traceback.FrameSummary) -> bool:
    return not frame.filename.startswith((_OURS, *_IMPORT_SYSTEM))


def _find_place(error: BaseException, stack: traceback.StackSummary, root: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shorten(error.filename, root)}, line {error.lineno}"
    if not stack:
        return ""
    own = [frame for frame in stack if _is_inside(frame.filename, root)]
    frame = (own or stack)[-1]
    return f"{_shorten(frame.filename, root)}, line {frame.lineno}"


def _is_inside(path: str, root: Path) -> bool:
    # An environment often lies inside the project: what is installed is not the user's own.
    return Path(path).is_relative_to(root) and "site-packages" not in path


def _shorten(path: str, root: Path) -> str:
    return str(Path(path).relative_to(root)) if _is_inside(path, root) else path


def _walk_chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield told
    for link in (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())):
        if link is not None:
            yield from _walk_chain(link)
