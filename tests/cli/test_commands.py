"""Every command is there, in a file of its own that nobody else's start pays for; words of PM2's are answered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from prefork.cli.commands import ALIASES, ANSWERS, COMMANDS, NOT_SERVING
from prefork.cli.main import main
from prefork.cli.program import make_program
from prefork.cli.scale import read_count
from prefork.control.requests import AskScale
from prefork.errors import UsageError
from tests.cli.program import DEADLINE_S, clean_environ, run_program


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: prefork {name}" in capsys.readouterr().out


def test_one_command_imports_none_of_the_others(tmp_path: Path) -> None:
    code = (
        "import json, sys; from prefork.cli.main import main; main(['ls']); print(json.dumps([*sys.modules]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=clean_environ(PREFORK_CONTROL=str(tmp_path)),
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    modules = set(json.loads(ended.stdout.splitlines()[-1]))
    assert "prefork.cli.ls" in modules
    assert modules.isdisjoint({"prefork.cli.stop", "prefork.cli.run", "prefork.master", "asyncio"})


def test_words_of_pm2s_are_commands_or_answers() -> None:
    program = make_program()
    with program.make_context("prefork", ["version"]) as context:
        for alias in ALIASES.values():
            assert isinstance(program.get_command(context, alias.split()[0]), click.Command)
    assert set(COMMANDS).isdisjoint({*ALIASES, *ANSWERS})
    assert "run" not in NOT_SERVING


def test_a_command_is_never_taken_for_an_app_and_an_app_of_its_name_can_be_run(tmp_path: Path) -> None:
    (tmp_path / "ls.py").write_text("async def app(scope, receive, send): ...\n")
    (tmp_path / "kill.py").write_text("async def app(scope, receive, send): ...\n")
    env = {"PREFORK_CONTROL": str(tmp_path)}
    assert run_program("ls", cwd=tmp_path, env=env).stdout.startswith("nothing is running")
    assert run_program("list", "--json", cwd=tmp_path, env=env).stdout == "[]\n"
    assert run_program("check", "ls:app", cwd=tmp_path).code == 0
    (tmp_path / "kill.py").unlink()
    killed = run_program("kill", cwd=tmp_path, env=env)
    assert (killed.code, "prefork stop all" in killed.stderr) == (2, True)


def test_nobody_home_is_exit_3_for_whoever_asks(tmp_path: Path) -> None:
    env = {"PREFORK_CONTROL": str(tmp_path)}
    for words in (["status"], ["reload", "shop"], ["stop", "all"], ["scale", "4"], ["events", "-f"]):
        ended = run_program(*words, cwd=tmp_path, env=env)
        assert (ended.code, ended.stdout) == (3, "")
        assert ended.stderr.startswith("error: ")
        assert len(ended.stderr.splitlines()) <= 4


@pytest.mark.parametrize(
    ("word", "request_"),
    [("4", AskScale(to=4)), ("+2", AskScale(by=2)), ("-1", AskScale(by=-1)), ("max", AskScale(to="max"))],
)
def test_scale_takes_a_number_a_difference_or_max(word: str, request_: AskScale) -> None:
    assert read_count(word) == request_


@pytest.mark.parametrize("word", ["0", "+0", "many", "1.5", "", "--3", "99999999999", "513", "٣"])
def test_scale_refuses_what_is_no_number_of_workers(word: str) -> None:
    with pytest.raises(UsageError):
        read_count(word)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", shell]) == 0
    assert "_PREFORK_COMPLETE" in capsys.readouterr().out
    word = "sta" if shell == "fish" else "1"  # fish says the word itself, the others where it is
    asked = {"_PREFORK_COMPLETE": f"{shell}_complete", "COMP_WORDS": "prefork sta", "COMP_CWORD": word}
    told = run_program(cwd=tmp_path, env=asked | {"PREFORK_CONTROL": str(tmp_path)})
    assert {"status", "stacks", "start"} <= set(told.stdout.replace(",", "\n").split()), told
