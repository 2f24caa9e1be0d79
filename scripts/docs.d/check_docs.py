"""Does the documentation tell the truth about files, anchors and options?

Only what can be checked without judgement: relative links, anchors of headings, options of the command line.
A block that is not ours (another program's command, a pseudo option such as `--prefix-…`) is left alone.
"""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^\s*```(\w*)\s*$")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*|-[a-zA-Z])(?![\w-])")
SHELLS = {"console", "sh", "bash", "shell"}
HELP_TIMEOUT_S = 20


def main() -> int:
    complaints = [complaint for page in sorted(find_pages()) for complaint in check_page(page)]
    print(*complaints, sep="\n", end="\n" if complaints else "")
    print(f"docs: {len(list(find_pages()))} pages, {len(complaints)} complaints")
    return 1 if complaints else 0


def find_pages() -> Iterator[Path]:
    """The Markdown files that are kept in the repository, or would be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return (Path(line) for line in listed.stdout.splitlines() if Path(line).exists())
    return (page for page in Path().rglob("*.md") if not page.parts[0].startswith("."))


def check_page(page: Path) -> Iterator[str]:
    """The complaints about one page, each `path:line: what`."""
    for number, line in read_prose(page):
        for target in LINK.findall(line):
            if complaint := check_link(page, target):
                yield f"{page}:{number}: {complaint}"
    for number, line in read_shell_lines(page):
        for complaint in check_command(line):
            yield f"{page}:{number}: {complaint}"


def read_prose(page: Path) -> Iterator[tuple[int, str]]:
    for number, line, language in read_lines(page):
        if language is None:
            yield number, re.sub(r"`[^`]*`", "", line)


def read_shell_lines(page: Path) -> Iterator[tuple[int, str]]:
    for number, line, language in read_lines(page):
        if language in SHELLS:
            yield number, line


def read_lines(page: Path) -> Iterator[tuple[int, str, str | None]]:
    """(line number, line, language of the fenced block it is in or None); fences themselves are left out."""
    language: str | None = None
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if fence := FENCE.match(line):
            language = fence[1] if language is None else None
        else:
            yield number, line, language


def check_link(page: Path, target: str) -> str | None:
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None  # another site's business
    path, _, anchor = unquote(target).partition("#")
    linked = page if not path else page.parent / path
    if not linked.exists():
        return f"no such file: {target}"
    if anchor and linked.suffix == ".md" and anchor not in list_anchors(linked):
        return f"no such heading: {target}"
    return None


@functools.cache
def list_anchors(page: Path) -> frozenset[str]:
    """The anchors GitHub gives to the headings of a page."""
    headings = (HEADING.match(line) for _, line, language in read_lines(page) if language is None)
    titles = (re.sub(r"[^\w\- ]", "", heading[1].lower()) for heading in headings if heading)
    return frozenset(title.replace(" ", "-") for title in titles)


def check_command(line: str) -> Iterator[str]:
    """The options of every `prefork …` command in a line that no help page knows."""
    for command in re.split(r"\s(?:&&|\|\||[|;&])\s", line.removeprefix("$ ").strip()):
        try:
            words = shlex.split(command, comments=True)
        except ValueError:
            continue  # a line of output, not a command
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] != ["prefork"]:
            continue
        known = list_options(find_subcommand(words))
        for word in words[1:]:
            option = word.partition("=")[0]
            if OPTION.fullmatch(option) and option not in known:
                yield f"`prefork` has no option {option}"


def find_subcommand(words: list[str]) -> str:
    first = next((word for word in words[1:] if not word.startswith("-")), "")
    return first if first in list_subcommands() else "run"


@functools.cache
def list_subcommands() -> frozenset[str]:
    return frozenset(re.findall(r"^  ([a-z]+)\b", read_help(""), re.MULTILINE))


@functools.cache
def list_options(subcommand: str) -> frozenset[str]:
    return frozenset(OPTION.findall(read_help(subcommand) + read_help(""))) | {"--help"}


@functools.cache
def read_help(subcommand: str) -> str:
    command = [sys.executable, "-m", "prefork", *subcommand.split(), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HELP_TIMEOUT_S, check=False)
    if done.returncode != 0:
        sys.exit(f"docs: {' '.join(command)} exited {done.returncode}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
