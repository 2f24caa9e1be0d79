"""Ranking and deriving: who wins, what adds up, and what is made from something else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from prefork.config.model import Config
from prefork.config.options import OPTIONS, decides_field
from prefork.config.resolving import Resolved, derive_name, join_path, list_env_files, resolve
from prefork.config.sources import Layer, read_app, read_flags, read_platform, read_table, read_variables
from prefork.errors import ConfigError, UsageError

APP = read_app("shop.main:app")


def decide(*layers: Layer, env_files: dict[str, str] | None = None, found: str = "") -> Resolved:
    return resolve(
        layers,
        directory="/srv/store",
        env_files=env_files or {},
        count_cpus=lambda: (4, "4 CPUs (affinity 4, no cgroup quota)"),
        find_app=lambda _: found,
    )


def in_file(**table: object) -> Layer:
    return read_table(table, "prefork.toml")


def test_with_nothing_given_everything_is_the_default() -> None:
    resolved = decide(APP)
    assert resolved.config == Config(app="shop.main:app", name="shop", chdir="/srv/store")
    origin = {option.field: "default" for option in OPTIONS if decides_field(option)}
    assert resolved.origin == {
        **origin,
        "app": "argument APP",
        "name": "made from the app and its directory",
    }
    assert resolved.notes == ()


SOURCES = [
    (read_flags({"workers": "1"}), "flag --workers"),
    (read_variables({"PREFORK_WORKERS": "2"}), "env PREFORK_WORKERS"),
    (read_table({"workers": 3}, "prefork.toml"), "prefork.toml"),
    (read_table({"workers": 4}, "pyproject.toml [tool.prefork]"), "pyproject.toml [tool.prefork]"),
    (read_platform({"WEB_CONCURRENCY": "5"}, 1), "env WEB_CONCURRENCY"),
]


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_the_highest_source_wins_and_is_named(first: int) -> None:
    resolved = decide(APP, *(layer for layer, _ in SOURCES[first:]))
    assert (resolved.config.workers, resolved.origin["workers"]) == (first + 1, SOURCES[first][1])


def test_workers_are_computed_and_the_reason_kept() -> None:
    config = decide(APP, read_flags({"workers": "max-1"})).config
    assert (config.workers, config.workers_why) == (3, "max-1: 4 CPUs (affinity 4, no cgroup quota)")


PORT_5000 = read_platform({"PORT": "5000"}, 1)

BINDS: list[tuple[Sequence[Layer], tuple[str, ...], str]] = [
    ((), ("127.0.0.1:8000",), "default"),
    (
        [read_flags({"bind": (":80", "unix:run/a.sock")})],
        ("0.0.0.0:80", "unix:/srv/store/run/a.sock"),
        "flag --bind",
    ),
    ([read_flags({"port": "80"})], ("127.0.0.1:80",), "flag --port"),
    ([read_flags({"host": "::"})], ("[::]:8000",), "flag --host"),
    ([read_flags({"host": "::1", "port": "0"})], ("[::1]:0",), "flag --host, flag --port"),
    (
        [read_flags({"bind": (":80",), "uds": "/run/a.sock", "fd": "3"})],
        ("0.0.0.0:80", "unix:/run/a.sock", "fd://3"),
        "flag --bind, flag --uds, flag --fd",
    ),
    (
        [read_flags({"bind": (":80", "*:80", ":0", ":0")})],
        ("0.0.0.0:80", "0.0.0.0:0", "0.0.0.0:0"),
        "flag --bind",
    ),
    # One source's listeners replace another's …
    ([read_flags({"bind": (":80",)}), in_file(bind=[":81", ":82"])], ("0.0.0.0:80",), "flag --bind"),
    ([in_file(bind=":81"), PORT_5000], ("0.0.0.0:81",), "prefork.toml"),
    # … but half an address looks further down for its other half.
    ([read_flags({"port": "80"}), in_file(host="10.0.0.1")], ("10.0.0.1:80",), "flag --port, prefork.toml"),
    ([in_file(host="10.0.0.1"), PORT_5000], ("10.0.0.1:5000",), "prefork.toml, env PORT"),
    ([read_flags({"port": "80"}), PORT_5000], ("127.0.0.1:80",), "flag --port"),
    ([PORT_5000], ("0.0.0.0:5000",), "env PORT"),
    ([read_platform({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, 1)], ("fd://3", "fd://4"), "env LISTEN_FDS"),
]


@pytest.mark.parametrize(("layers", "bind", "origin"), BINDS, ids=[str(case[1]) for case in BINDS])
def test_listeners_come_from_one_source(layers: Sequence[Layer], bind: tuple[str, ...], origin: str) -> None:
    resolved = decide(APP, *layers)
    assert (resolved.config.bind, resolved.origin["bind"]) == (bind, origin)


def test_sockets_that_were_passed_and_are_not_used_are_mentioned() -> None:
    passed = read_platform({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, 1)
    assert decide(APP, passed).notes == ()
    assert decide(APP, in_file(bind=":80"), passed).notes == (
        "sockets passed in LISTEN_FDS are not used: bind is set by prefork.toml",
    )


def test_a_socket_path_that_becomes_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a unix socket's path of 1[0-9][0-9] bytes"):
        decide(APP, read_flags({"uds": "a" * 100}))


def test_the_environment_adds_up_and_the_highest_source_wins_name_by_name() -> None:
    layers = [
        read_flags({"env": ("A=flag",), "env-file": ("flag.env",)}),
        in_file(env={"A": "file", "B": "file", "C": "file"}, env_file="../file.env"),
    ]
    paths = ("/srv/store/flag.env", "/srv/store/../file.env")
    assert list_env_files(layers, "/srv/store") == paths
    texts = dict(zip(paths, ["A=1\nB=flag.env", "A=2\nC=2\nD=file.env"], strict=True))

    resolved = decide(APP, *layers, env_files=texts)

    assert resolved.config.env == {"A": "flag", "B": "flag.env", "C": "file", "D": "file.env"}
    assert resolved.origin["env"] == "flag --env, flag --env-file, prefork.toml"


def test_relative_paths_count_from_chdir_and_chdir_from_the_start() -> None:
    resolved = decide(
        APP, read_flags({"chdir": "web", "pid": "run/pid", "log-file": "log", "app-dir": "src", "uds": "s"})
    )
    assert resolved.config == Config(
        app="shop.main:app",
        name="shop",
        chdir="/srv/store/web",
        pid="/srv/store/web/run/pid",
        log_file="/srv/store/web/log",
        app_dir="src",
        bind=("unix:/srv/store/web/s",),
    )


def test_a_log_file_of_a_dash_is_standard_error_whatever_a_lower_source_says() -> None:
    resolved = decide(APP, read_flags({"log-file": "-"}), in_file(log_file="/var/log/shop"))
    assert (resolved.config.log_file, resolved.origin["log_file"]) == (None, "flag --log-file")


def test_an_app_that_nobody_named_is_looked_for_and_said() -> None:
    resolved = decide(found="main:app")
    assert (resolved.config.app, resolved.config.name) == ("main:app", "store")
    assert resolved.origin["app"] == "found in /srv/store"
    assert resolved.notes == ("no APP given, found main:app in /srv/store",)


def test_an_app_that_cannot_be_found_is_the_finders_to_refuse() -> None:
    def find(directory: str) -> str:
        raise UsageError(f"none in {directory}")

    with pytest.raises(UsageError, match="none in /srv/store/web"):
        resolve(
            [read_flags({"chdir": "web"})],
            directory="/srv/store",
            env_files={},
            count_cpus=lambda: (1, ""),
            find_app=find,
        )


@pytest.mark.parametrize(
    ("app", "directory", "name"),
    [
        ("shop:app", "/srv/store", "shop"),
        ("shop.main:app", "/srv/store", "shop"),
        ("shop.wsgi", "/srv/store", "shop"),
        ("main:app", "/srv/store", "store"),
        ("wsgi:application", "/srv/my store!", "my-store"),
        ("app:create_app()", "/", "app"),
        ("main:app", "/srv/日本", "main"),
        ("src/web.py", "/srv/store", "web"),
        ("src/app.py:app", "/srv/store", "src"),
        ("./app.py", "/srv/store", "store"),
        ("/opt/shop/main.py:app", "/srv/store", "shop"),
        (":app", "/", "prefork"),
        ("a" * 100, "/", "a" * 64),
    ],
)
def test_a_service_is_named_after_what_tells_most(app: str, directory: str, name: str) -> None:
    assert derive_name(app, directory) == name


@pytest.mark.parametrize(
    ("path", "joined"),
    [
        ("a", "/srv/a"),
        ("./a/", "/srv/a"),
        (".", "/srv"),
        ("/a//b", "/a/b"),
        ("link/../a", "/srv/link/../a"),
    ],
)
def test_a_path_is_joined_without_being_resolved(path: str, joined: str) -> None:
    assert join_path("/srv", path) == joined
