"""Every block of code in the documentation does what stands there, with the real program."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import RUN, Block, list_blocks
from tests.docs.sandbox import Sandbox, is_service

NOT_RUN = {
    ("README.md", "pip asks a package index"),
}
"""Those that no test can run, each with the reason that stands above it in the page."""
NUMBER = re.compile(r"0x[0-9a-f]+|\d[\d.,:/-]*(ms|s|m|h|d|%|[KMG])?(?![a-z])")
PATH = re.compile(r"(?:/[\w.-]+)+/")
ANYTHING = "…"
BLOCKS = [block for block in list_blocks() if not block.not_run and block.language in RUN]


def of(*languages: str) -> pytest.MarkDecorator:
    found = [pytest.param(block, id=block.name) for block in BLOCKS if block.language in languages]
    assert found
    return pytest.mark.parametrize("block", found)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    # Not in pytest's folder, whose path is longer than a socket's may be.
    with tempfile.TemporaryDirectory(prefix="pf-docs-") as folder, Sandbox(Path(folder)) as made:
        toml = next(block for block in BLOCKS if block.page == "docs/configuration.md")
        (made.folder / "several.toml").write_text(made.localize(toml.text))
        yield made


def test_only_what_no_test_can_run_is_not_run() -> None:
    assert {block.language for block in list_blocks()} <= RUN | {"text"}, "how is that run?"
    assert {(block.page, block.not_run) for block in list_blocks() if block.not_run} == NOT_RUN


@of("sh", "bash")
def test_commands_work(block: Block, sandbox: Sandbox) -> None:
    for command in block.lines:
        if is_service(command):
            sandbox.serve(command)
        else:
            code, shown = sandbox.run(command)
            assert code == 0, shown


@of("console")
def test_what_a_terminal_shows_is_what_stands_there(block: Block, sandbox: Sandbox) -> None:
    if "[app." in "".join(block.lines):
        shutil.copy(sandbox.folder / "several.toml", sandbox.folder / "prefork.toml")
    for command, expected in split_session(block.lines):
        code, shown = sandbox.run(command)
        if command.startswith("prefork start"):  # whoever is ready first is told first
            shown = "".join(sorted(shown.splitlines(keepends=True)))
        assert re.fullmatch(make_pattern(expected), level(shown)), (
            f"$ {command}   (exit {code})\n{shown}\ninstead of\n{expected}"
        )


@of("toml")
def test_a_file_is_understood_and_its_apps_would_start(block: Block, sandbox: Sandbox) -> None:
    (sandbox.folder / "prefork.toml").write_text(sandbox.localize(block.text))
    profiles = re.findall(r"^\[profile\.(\w+)\]", block.text, re.MULTILINE)
    for profile in ("", *(f"--profile {each}" for each in profiles)):
        code, shown = sandbox.run(f"prefork check {profile}")
        assert code == 0, shown


@of("python")
def test_a_module_can_be_imported_and_a_strategy_be_used(block: Block, sandbox: Sandbox) -> None:
    (sandbox.folder / "shop/balance.py").write_text(block.text)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "shop/balance.py"],
        cwd=sandbox.folder,
        env=sandbox.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    if option := re.search(r"# (--balance \S+)", block.text):
        sandbox.serve(f"prefork main:app {option[1]}")


@of("nginx", "haproxy")
def test_a_proxy_takes_its_lines(block: Block, tmp_path: Path) -> None:
    program = shutil.which(block.language)
    if program is None:
        pytest.skip(f"{block.language} is not installed")
    around = tmp_path / "proxy.conf"
    if block.language == "nginx":
        around.write_text(
            f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
            f"http {{ access_log off; server {{ listen unix:{tmp_path}/front.sock;\n{block.text}}} }}\n"
        )
        command = [program, "-t", "-q", "-c", str(around), "-p", str(tmp_path)]
    else:
        around.write_text(
            "defaults\n    mode http\n    timeout client 1s\n    timeout server 1s\n    timeout connect 1s\n"
            f"frontend front\n    bind unix@{tmp_path}/front.sock\n    default_backend shop\n{block.text}"
        )
        command = [program, "-c", "-f", str(around)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr


def split_session(lines: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Each command, and the lines that it shows."""
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    assert starts[0] == 0, "a session begins with a command"
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield lines[start].removeprefix("$ "), list(lines[start + 1 : end])


def level(shown: str) -> str:
    """Without what differs from run to run: numbers, directories, the width of columns."""
    lines = [" ".join(NUMBER.sub("#", PATH.sub("/", line)).split()) for line in shown.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def make_pattern(expected: list[str]) -> str:
    """A line `…` stands for any number of lines, none included."""
    return "".join(
        "(?:.*\\n)*" if line.strip() == ANYTHING else re.escape(level(line or " ")) for line in expected
    )
