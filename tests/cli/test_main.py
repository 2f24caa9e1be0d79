"""The program's door: names, streams, interruption, and what it costs to come in."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import prefork
from prefork.cli.complaints import print_error, wants_color
from prefork.cli.main import main
from prefork.config.options import GROUPS
from prefork.errors import AppError, PreforkError, UsageError
from tests.cli.program import DEADLINE_S, clean_environ, run_program


@pytest.mark.parametrize("arguments", [("--version",), ("version",)])
def test_the_version_is_told(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.split()[:2] == ["prefork", prefork.__version__]


@pytest.mark.parametrize(
    "arguments", [("--help",), ("-h",), ("help",), ("run", "--help"), ("help", "run"), ("main:app", "--help")]
)
def test_the_help_explains_every_option_in_groups(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: prefork ")
    sections = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert sections[1:] == [*(f"{group}:" for group in GROUPS), "Configuration:"]
    assert "-w, --workers N|max|max-1|50%" in out


def test_python_m_prefork_is_called_prefork(tmp_path: Path) -> None:
    ended = run_program("--help", cwd=tmp_path)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0] == "Usage: prefork [run] APP [OPTIONS] | COMMAND …"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts what it puts in the background with SIGINT ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_starting_ends_quietly(tmp_path: Path) -> None:
    pipe = tmp_path / "slow.toml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "prefork", "main:app", "-c", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=clean_environ()) as process:
        descriptor = os.open(pipe, os.O_WRONLY)  # returns when the program has opened it too, and reads
        process.send_signal(signal.SIGINT)
        # A signal just before a read(2) is noticed when that returns: let it, so that no schedule can hang here.
        os.close(descriptor)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, stderr) == (130, b"")


@pytest.mark.parametrize(
    ("redirection", "code", "stderr"),
    [
        ("| true; exit ${PIPESTATUS[0]}", None, ""),
        (">&-", 0, ""),
        ("2>&- --wrong", 2, ""),
        (">/dev/full", 1, "error: cannot write to standard output: no space left\n"),
    ],
)
def test_a_closed_or_full_stream_is_no_traceback(
    tmp_path: Path, redirection: str, code: int | None, stderr: str
) -> None:
    ended = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m prefork config {redirection}'],
        cwd=tmp_path,
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.stderr == stderr
    # Whether `true` was gone before the program wrote is the scheduler's choice.
    assert ended.returncode in ({0, 1} if code is None else {code})


IMPORTED = """
import json, sys
before = set(sys.modules)
import prefork
nearly_free = sorted(set(sys.modules) - before)
from prefork.cli import main, serving
from prefork.cli.cutting import cut_service_words
from prefork.cli.reading import read_configuration, start_from_flags
read_configuration(start_from_flags(*cut_service_words(["main:app", "--workers", "max", "--bind", ":0"])))
print(json.dumps([nearly_free, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_coming_in_imports_little_and_never_asyncio(tmp_path: Path) -> None:
    import json  # noqa: PLC0415  # beside its only use

    (tmp_path / "pyproject.toml").write_text("[project]\n")
    ended = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{IMPORTED}"],
        cwd=tmp_path,
        env=clean_environ(),
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    at_once, later = json.loads(ended.stdout)
    assert set(at_once) <= {"__future__", "prefork"}
    unwanted = {"asyncio", "argparse", "ast", "dataclasses", "difflib", "ipaddress", "logging", "pathlib"}
    unwanted |= {"click", "psutil", "setproctitle", "socket", "tempfile", "tomllib", "tomli", "uvloop"}
    assert set(later) & unwanted - modules_of("msgspec") == set()
    assert "asyncio" not in later


def modules_of(names: str) -> set[str]:
    """What an import brings along in this version of Python."""
    code = f"import sys; sys.path[:] = {sys.path!r}; import {names}; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout
    return {name.partition(".")[0] for name in out.split()}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "colored"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
    ],
)
def test_colours_are_for_terminals_unless_asked_otherwise(
    stream: io.StringIO, environ: dict[str, str], colored: bool
) -> None:
    assert wants_color(stream, environ) is colored


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UsageError("bad"), "error: bad\n"),
        (
            PreforkError("bad", "do this", "or that", "or that", "no more"),
            "error: bad\n  do this\n  or that\n  or that\n",
        ),
        (PreforkError("two\nlines", "a\r\nb"), "error: two lines\n  a  b\n"),
        (
            AppError("it raised", "fix it", traceback="Traceback:\n  x\n\n"),
            "Traceback:\n  x\nerror: it raised\n  fix it\n",
        ),
    ],
)
def test_an_error_is_its_message_and_its_hints(
    error: PreforkError, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    print_error(error, stream)
    assert stream.getvalue() == text


def test_an_error_without_a_stream_is_lost_quietly() -> None:
    closed = io.StringIO()
    closed.close()
    print_error(UsageError("bad"), closed)
    print_error(UsageError("bad"), None)
