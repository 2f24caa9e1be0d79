"""The blocks of code in the documentation: where each stands, and whether it is said that it cannot be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
NOTE = re.compile(r"<!-- not run: (.+) -->")
FENCE = re.compile(r"```(\w*)")
RUN = frozenset({"console", "sh", "bash", "python", "toml", "nginx", "haproxy"})
"""What is there to be typed or copied."""


class Block(NamedTuple):
    """What stands between two fences."""

    page: str
    line: int
    language: str
    lines: tuple[str, ...]
    not_run: str
    """Why it is not; empty if it is."""

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def list_blocks() -> list[Block]:
    """Those of the README and of the pages in docs/."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [block for page in pages for block in read_blocks(page)]


def read_blocks(page: Path) -> Iterator[Block]:
    """All of one page."""
    note, begun = "", 0
    language: str | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = FENCE.fullmatch(line)
        if fence is None and language is not None:
            lines.append(line)
        elif fence is None:
            found = NOTE.fullmatch(line)
            note = found[1] if found else note if not line else ""
        elif language is None:
            language, begun, lines = fence[1], number, []
        else:
            yield Block(str(page.relative_to(ROOT)), begun, language, tuple(lines), note)
            note, language = "", None
