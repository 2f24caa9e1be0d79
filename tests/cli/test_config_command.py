"""`prefork config`: every setting, its value and who set it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefork.cli.config_command import lay_out
from prefork.cli.main import main
from prefork.config.model import Config
from prefork.config.options import OPTIONS, decides_field

DERIVED = {"config_file", "worker_hooks", "workers_why", "read_from"}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefork.toml").write_text('keep-alive = "250ms"\n[env]\nTOKEN = "secret"\n')
    return tmp_path


def test_the_table_shows_value_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "shop:app", "-w", "2", "-m", "22"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: tuple(line.split(None, 2)[1:]) for line in out.splitlines() if line[0] != " "}
    assert {key: rows[key] for key in ("app", "workers", "keep-alive", "umask", "timeout", "env")} == {
        "app": ("shop:app", "argument APP"),
        "workers": ("2", "flag --workers"),
        "keep-alive": ("250ms", "prefork.toml"),
        "umask": ("0022", "flag --umask"),
        "timeout": ("30s", "default"),
        "env": ("TOKEN", "prefork.toml"),
    }
    assert set(rows) == {option.key for option in OPTIONS if decides_field(option)} | {"env-file"}
    assert "secret" not in out


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_secret_shows_only_that_it_is_there(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFORK_SSL_KEYFILE_PASSWORD", "open sesame")
    assert main(["config", "shop:app", *arguments]) == 0
    said = capsys.readouterr()
    assert "sesame" not in said.out + said.err
    assert "hidden" in said.out


def test_workers_that_were_computed_say_how(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "shop:app", "-w", "max"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("workers"))
    assert "flag --workers (max: " in row


def test_json_has_every_field_with_its_unit_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "shop:app", "--json"]) == 0
    out = capsys.readouterr().out
    data = json.loads(out)
    assert set(data) == (set(Config.__struct_fields__) - DERIVED) | {"env_file"}
    assert data["keep_alive_s"] == {"value": 0.25, "origin": "prefork.toml"}
    assert data["env"] == {"value": ["TOKEN"], "origin": "prefork.toml"}
    assert "secret" not in out


def test_without_an_app_there_is_still_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["app"] == {"value": "", "origin": "default"}


def test_the_schema_is_printed_whatever_the_configuration(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "prefork.toml").write_text("broken")
    assert main(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "prefork.toml"


def test_columns_are_aligned_and_one_long_value_moves_only_itself() -> None:
    assert lay_out([("a", "1", "x"), ("bbb", "22", "y"), ("c", "3" * 40, "z")]) == [
        "a    1                                 x",
        "bbb  22                                y",
        f"c    {'3' * 40}",
        "                                       z",
    ]


def test_the_files_of_the_environment_are_shown_with_who_named_them(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / ".env").write_text("A=1\n")
    assert main(["config", "shop:app", "--env-file", ".env", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["env_file"] == {"value": [f"{directory}/.env"], "origin": "flag --env-file"}


def test_several_apps_are_shown_one_after_the_other_or_by_name(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "prefork.toml").write_text('[app.shop]\napp = "shop:app"\n[app.api]\napp = "api:app"\n')
    assert main(["config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("[")] == ["[app.shop]", "[app.api]"]
    assert main(["config", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [data[name]["app"]["value"] for name in ("shop", "api")] == ["shop:app", "api:app"]
    assert main(["config", "api", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["app"]["value"] == "api:app"
