"""Reading the process's environment and files, once at the start and again for every reload."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefork.cli.reading import (
    Reread,
    Start,
    find_directory,
    read_configuration,
    start_from_flags,
    start_from_keywords,
)
from prefork.errors import ConfigError, NoPermissionError, PreforkError, UsageError


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def origins(start: Start, *fields: str) -> tuple[str, ...]:
    resolved = read_configuration(start)
    return tuple(resolved.origin[field] for field in fields)


def test_every_source_is_read_and_ranked(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFORK_THREADS", "2")
    monkeypatch.setenv("WEB_CONCURRENCY", "9")
    (directory / "prefork.toml").write_text("threads = 3\nbacklog = 3\n")
    (directory / "pyproject.toml").write_text("[tool.prefork]\nbacklog = 4\nmax-restarts = 4\n")
    start = start_from_flags("main:app", {"timeout": "1m"})

    assert origins(start, "app", "timeout_s", "threads", "backlog", "max_restarts", "workers", "umask") == (
        "argument APP",
        "flag --timeout",
        "env PREFORK_THREADS",
        "prefork.toml",
        "pyproject.toml [tool.prefork]",
        "env WEB_CONCURRENCY",
        "default",
    )


def test_a_named_file_is_read_in_place_of_the_usual_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "prefork.toml").write_text("threads = 2\nbacklog = 2\n")
    (directory / "other.toml").write_text("threads = 3\n")
    (directory / "third.toml").write_text("threads = 4\n")

    named = start_from_flags("main:app", {"config": "other.toml"})
    assert origins(named, "threads", "backlog") == ("other.toml", "default")
    monkeypatch.setenv("PREFORK_CONFIG", "third.toml")
    assert origins(start_from_flags("main:app", {}), "threads", "backlog") == ("third.toml", "default")
    assert origins(named, "threads", "backlog") == ("other.toml", "default")


def test_a_named_pyproject_is_read_for_its_table(directory: Path) -> None:
    (directory / "sub").mkdir()
    (directory / "sub/pyproject.toml").write_text("[tool.prefork]\nthreads = 2\n")
    start = start_from_flags("main:app", {"config": "sub/pyproject.toml"})
    assert origins(start, "threads") == ("sub/pyproject.toml [tool.prefork]",)


def test_a_reload_reads_the_files_again_but_not_what_was_typed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "prefork.toml").write_text('threads = 2\nworkers = 2\nenv-file = ".env"\n')
    (directory / ".env").write_text("A=1\n")
    reread = Reread(start_from_flags("main:app", {"workers": "3"}))
    first = reread()
    assert (first.threads, first.workers, first.env) == (2, 3, {"A": "1"})

    (directory / "prefork.toml").write_text('threads = 4\nworkers = 4\nenv-file = ".env"\n')
    (directory / ".env").write_text("A=2\n")
    monkeypatch.chdir("/")
    monkeypatch.setenv("PREFORK_THREADS", "9")
    second = reread()
    assert (second.threads, second.workers, second.env) == (4, 3, {"A": "2"})
    assert second.chdir == first.chdir


def test_a_reload_onto_a_broken_file_raises_and_can_be_tried_again(directory: Path) -> None:
    reread = Reread(start_from_flags("main:app", {}))
    (directory / "prefork.toml").write_text("threads = \n")
    with pytest.raises(ConfigError):
        reread()
    (directory / "prefork.toml").write_text("threads = 5\n")
    assert reread().threads == 5


def test_a_reload_refuses_that_the_file_it_started_with_is_gone(directory: Path) -> None:
    (directory / "prefork.toml").write_text("threads = 2\n")
    reread = Reread(start_from_flags("main:app", {}))
    (directory / "prefork.toml").unlink()
    with pytest.raises(ConfigError, match=r"cannot read prefork.toml: no such file"):
        reread()


def test_a_directory_keeps_the_name_it_was_entered_by(directory: Path) -> None:
    (directory / "releases").mkdir()
    (directory / "current").symlink_to("releases")
    os.chdir(directory / "current")
    logical, physical = str(directory / "current"), str((directory / "releases").resolve())
    assert find_directory({"PWD": logical}) == logical
    assert find_directory({"PWD": "/"}) == physical  # somebody else's
    assert find_directory({"PWD": "current"}) == physical
    assert find_directory({"PWD": "/nowhere"}) == physical
    assert find_directory({}) == physical


def test_an_obvious_app_is_found_and_told(directory: Path) -> None:
    (directory / "main.py").write_text("async def app(scope, receive, send): ...\n")
    resolved = read_configuration(start_from_flags(None, {}))
    assert resolved.config.app == "main:app"
    assert resolved.notes == (f"no APP given, found main:app in {resolved.config.chdir}",)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("folder", ConfigError, "cannot read folder: is a directory"),
        ("", ConfigError, 'the configuration file "": not a text'),
        ("a\0b", ConfigError, 'the configuration file "a\\x00b": holds control bytes or is not UTF-8'),
        ("bad.toml", ConfigError, "bad.toml, line 1: not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    directory: Path, path: str, error: type[PreforkError], message: str
) -> None:
    (directory / "folder").mkdir()
    (directory / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(error) as refused:
        read_configuration(start_from_flags("main:app", {"config": path}))
    assert refused.value.message == message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_matter_of_permission(directory: Path) -> None:
    (directory / "secret.toml").touch(mode=0)
    with pytest.raises(NoPermissionError, match=r"cannot read secret\.toml: permission denied"):
        read_configuration(start_from_flags("main:app", {"config": "secret.toml"}))


def test_keywords_are_options(directory: Path) -> None:
    (directory / "web").mkdir()
    keywords = {
        "workers": 2,
        "bind": [":80"],
        "chdir": directory / "web",
        "env": {"A": "1"},
        "keep_alive": 2.5,
    }
    config = read_configuration(start_from_keywords("main:app", keywords)).config
    assert (config.app, config.workers, config.bind, config.env, config.keep_alive_s) == (
        "main:app",
        2,
        ("0.0.0.0:80",),
        {"A": "1"},
        2.5,
    )
    assert config.chdir == str(directory / "web")


def test_an_unknown_keyword_is_refused_with_the_nearest(directory: Path) -> None:
    with pytest.raises(UsageError) as refused:
        start_from_keywords("main:app", {"worker": 2})
    assert (refused.value.message, refused.value.hints) == (
        "unknown option worker",
        ("did you mean workers?",),
    )


def test_an_app_object_is_refused_with_the_reason(directory: Path) -> None:
    with pytest.raises(UsageError) as refused:
        start_from_keywords(print, {})  # type: ignore[arg-type]  # the mistake under test
    assert refused.value.message == "prefork.run needs the app's name, not <built-in function print>"


APPS = """
[app.shop]
app = "shop:app"
[app.api]
app = "api:app"
workers = 2
[profile.production]
workers = 4
"""


def test_the_name_of_a_table_is_an_app_of_the_file(directory: Path) -> None:
    (directory / "prefork.toml").write_text(APPS)
    resolved = read_configuration(start_from_flags("api", {"workers": "3"}))
    assert (resolved.table, resolved.config.app, resolved.config.name, resolved.config.workers) == (
        "api", "api:app", "api", 3,
    )  # fmt: skip
    assert read_configuration(start_from_keywords("api", {"profile": "production"})).config.workers == 4
    assert read_configuration(start_from_flags("main:app", {})).table == ""


def test_one_of_several_apps_has_to_be_named_and_a_misspelt_one_is_told(directory: Path) -> None:
    (directory / "prefork.toml").write_text(APPS)
    with pytest.raises(UsageError, match=r"which app\? prefork.toml has shop, api"):
        read_configuration(start_from_flags(None, {}))
    with pytest.raises(UsageError, match=r"did you mean shop\?"):
        read_configuration(start_from_flags("shpo", {}))
    (directory / "prefork.toml").write_text('[app.shop]\napp = "shop:app"\n')
    assert read_configuration(start_from_flags(None, {})).config.name == "shop"


def test_a_reload_reads_the_same_table_and_the_same_profile(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFORK_PROFILE", "production")
    (directory / "prefork.toml").write_text(
        '[app.shop]\napp = "shop:app"\n[profile.production]\nworkers = 2\n'
    )
    start = start_from_flags(None, {})
    reread = Reread(start.narrow(read_configuration(start).table))
    (directory / "prefork.toml").write_text(APPS)
    assert (reread().name, reread().workers) == ("shop", 4)

    (directory / "prefork.toml").write_text(APPS.replace("app.shop", "app.other"))
    with pytest.raises(ConfigError, match=r"there is no \[app.shop\] any more"):
        reread()


def test_a_log_that_we_chose_is_rotated_unless_said_otherwise(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))

    def read_size(**flags: str) -> int:
        start = start_from_flags("main:app", {key.replace("_", "-"): value for key, value in flags.items()})
        return read_configuration(start.in_background()).config.log_max_size_bytes

    assert read_size() == 100 << 20
    assert read_size(log_max_size="1G") == 1 << 30
    assert read_size(log_max_size="0") == 0
    assert read_size(log_file="mine.log") == 0  # whoever says where may have a logrotate for it
