"""`prefork init`: a file to begin with, right as it is and right where a line is uncommented."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from prefork.cli.init import Service
from prefork.cli.init_toml import make_toml
from prefork.config.tables import cut_tables, pick_layers
from tests.cli.program import run_program

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

APP = "async def app(scope, receive, send): ...\n"


def test_the_file_names_the_app_that_is_found_and_passes_a_check(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    made = run_program("init", cwd=tmp_path)
    assert (made.code, made.stderr) == (0, "")
    assert (
        made.stdout
        == f"wrote {tmp_path}/prefork.toml for main:app: prefork check reads it, prefork starts it\n"
    )
    checked = run_program("check", "--profile", "production", "--bind", ":0", cwd=tmp_path)
    assert (checked.code, checked.stderr) == (0, "")
    assert f"app ok: main:app is ASGI ({tmp_path}/main.py)" in checked.stdout


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "prefork.toml").write_text("workers = 2\n")
    ended = run_program("init", "toml", "main:app", cwd=tmp_path)
    assert (ended.code, ended.stderr.splitlines()[0]) == (
        78,
        "error: prefork.toml is there already, and is never replaced",
    )
    assert (tmp_path / "prefork.toml").read_text() == "workers = 2\n"


def test_without_an_app_nothing_is_written(tmp_path: Path) -> None:
    ended = run_program("init", cwd=tmp_path)
    assert ended.code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tml",), 'error: no kind of file "tml"'),
        (("toml", "a:b", "c:d"), 'error: unexpected argument "c:d"'),
    ],
)
def test_words_that_mean_nothing_are_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    ended = run_program("init", *words, cwd=tmp_path)
    assert (ended.code, ended.stderr.splitlines()[0]) == (2, message)


def test_every_line_that_is_a_comment_is_valid_without_its_sign() -> None:
    text = make_toml(Service('we"ird:app', "shop", "/srv/shop"))
    assert tomllib.loads(text)["app"] == 'we"ird:app'
    keys = re.sub(r"(?m)^# ([a-z-]+ = )", r"\1", text[: text.index("# --- Several")])
    assert pick_layers([cut_tables(tomllib.loads(keys), "prefork.toml")], "", "development")

    apps = text[text.index("# [app.shop]") :].replace("# ", "").replace("#\n", "\n")
    tables = cut_tables(tomllib.loads(apps), "prefork.toml")
    assert list(tables.apps) == ["shop", "api"]
    assert pick_layers([tables], "api", None)
