"""Which files count, and which directories are not even entered. Pure.

What an editor, an installation or Python itself writes beside the code must never reload it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

ALWAYS = ("*.py",)
NEVER = (".#*", "#*#", "*~", "*.sw?", "4913", "*.pyc", "*.pyo", "*___jb_???___")
"""Emacs' locks and autosaves, backups, vim's swap files and its probe, bytecode, JetBrains' safe writes."""
NOT_ENTERED = (".*", "__pycache__", "node_modules")
VIRTUALENV = "pyvenv.cfg"
"""A directory with this file in it holds installed packages, not the app; see PEP 405."""


class Picker:
    """`include` counts besides *.py; `exclude` wins over everything.

    Patterns are those of fnmatch(3). One without a slash is compared with names, one with a slash with the end of
    whole paths: `templates/*` is whatever is below any `templates`.
    """

    __slots__ = ("_excluded", "_included", "_not_entered")

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        excluded = tuple(exclude)
        self._included = _compile((*ALWAYS, *include))
        self._excluded = _compile((*NEVER, *excluded))
        self._not_entered = _compile((*NOT_ENTERED, *excluded))

    def takes(self, path: str) -> bool:
        """Does a file of this (absolute) path count?"""
        return bool(self._included.match(path)) and not self._excluded.match(path)

    def enters(self, path: str) -> bool:
        """Is a directory of this (absolute) path looked into?"""
        return not self._not_entered.match(path)


def _compile(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(_translate, patterns)))


def _translate(pattern: str) -> str:
    pattern = pattern.removeprefix("./").rstrip("/")
    if pattern.startswith("/"):
        return fnmatch.translate(pattern)
    if "/" in pattern:
        return fnmatch.translate(f"*/{pattern}")
    return f"(?s:.*/(?=[^/]*\\Z)){fnmatch.translate(pattern)}"
