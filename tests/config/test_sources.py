"""Each source by itself: what it sets, what it calls the place, and how it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefork.config.addresses import Address
from prefork.config.sources import (
    Given,
    Layer,
    read_app,
    read_flags,
    read_keywords,
    read_platform,
    read_table,
    read_variables,
)
from prefork.errors import ConfigError, PreforkError, UsageError


@pytest.mark.parametrize(
    ("layer", "given"),
    [
        (read_flags({"keep-alive": "5s"}), {"keep-alive": Given(5.0, "flag --keep-alive")}),
        (read_flags({"timeout-keep-alive": "5"}), {"keep-alive": Given(5.0, "flag --timeout-keep-alive")}),
        (read_flags({"kill-timeout": "1600"}), {"graceful-timeout": Given(1.6, "flag --kill-timeout")}),
        (read_flags({"worker-class": "gthread"}), {"interface": Given("wsgi", "flag --worker-class")}),
        (read_flags({"capture-output": True}), {"capture-output": Given(True, "flag --capture-output")}),
        (read_flags({"time": True}), {"log-time": Given("local", "flag --time")}),
        (read_flags({"log-max-size": "100M"}), {"log-max-size": Given(100 << 20, "flag --log-max-size")}),
        (read_flags({"slow": "0"}), {"slow": Given(0.0, "flag --slow")}),
        (read_flags({"server-header": False}), {"server-header": Given(False, "flag --server-header")}),
        (read_app("main:app"), {"app": Given("main:app", "argument APP")}),
        (read_keywords({"keep_alive": 5}), {"keep-alive": Given(5.0, "prefork.run")}),
        (read_variables({"PREFORK_KEEP_ALIVE": "5"}), {"keep-alive": Given(5.0, "env PREFORK_KEEP_ALIVE")}),
        (read_table({"keep-alive": "5s"}, "prefork.toml"), {"keep-alive": Given(5.0, "prefork.toml")}),
        (read_table({"keep_alive": 5}, "prefork.toml"), {"keep-alive": Given(5.0, "prefork.toml")}),
        (read_table({"env": {"A": 1}}, "prefork.toml"), {"env": Given({"A": "1"}, "prefork.toml")}),
        (read_table({"app": "main:app"}, "prefork.toml"), {"app": Given("main:app", "prefork.toml")}),
    ],
)
def test_a_source_sets_an_option_and_says_where(layer: Layer, given: dict[str, Given]) -> None:
    assert layer.given == given


def read_file(table: dict[str, object]) -> Layer:
    return read_table(table, "prefork.toml")


REFUSALS: list[tuple[Callable[[], Layer], type[PreforkError], str, str]] = [
    (
        lambda: read_flags({"timeout": "soon"}),
        UsageError,
        '--timeout "soon": not a duration',
        "accepted: 30s, 5m, 1h, 250ms, or a number of seconds",
    ),
    (
        lambda: read_flags({"bind": (":http",)}),
        UsageError,
        '--bind ":http": the port is not a number',
        "accepted: HOST:PORT, :PORT, [::1]:PORT, unix:/path, fd://N",
    ),
    (
        lambda: read_variables({"PREFORK_THREADS": "0"}),
        ConfigError,
        'PREFORK_THREADS "0": below 1',
        "accepted: a whole number from 1 to 4096",
    ),
    (
        lambda: read_file({"log-level": "loud"}),
        ConfigError,
        'prefork.toml: log-level = "loud": not one of the choices',
        "accepted: debug, info, warning, error, critical",
    ),
    (
        lambda: read_keywords({"keep_alive": "x\ny"}),
        UsageError,
        'keep_alive "x\\ny": not a duration',
        "accepted: 30s, 5m, 1h, 250ms, or a number of seconds",
    ),
    (lambda: read_keywords({"wrokers": 1}), UsageError, "unknown option wrokers", "did you mean workers?"),
    (
        lambda: read_keywords({"keepalive": 1}),
        UsageError,
        "unknown option keepalive",
        "did you mean keep_alive?",
    ),
    (
        lambda: read_file({"grace-timeout": 1}),
        ConfigError,
        "prefork.toml: unknown option grace-timeout",
        "did you mean graceful-timeout?",
    ),
    (
        lambda: read_variables({"PREFORK_WORKRES": "1"}),
        ConfigError,
        "unknown option PREFORK_WORKRES",
        "did you mean PREFORK_WORKERS?",
    ),
    (
        lambda: read_variables({"PREFORK_QQQ": "1"}),
        ConfigError,
        "unknown option PREFORK_QQQ",
        "prefork config lists them all",
    ),
    (
        lambda: read_file({"keep-alive": 1, "keep_alive": 1}),
        ConfigError,
        "prefork.toml: keep-alive is set twice",
        "keep-alive and keep_alive are the same key",
    ),
    (
        lambda: read_file({"apps": {"shop": {"workers": 2}}}),
        ConfigError,
        "prefork.toml: no table [apps] here",
        "the tables are [app.NAME], [profile.NAME] and [app.NAME.profile.NAME], each with keys and an env",
    ),
    (
        lambda: read_flags({"workers": "2", "instances": "4"}),
        UsageError,
        "--workers and --instances are one option, with two values",
        "",
    ),
    (
        lambda: read_platform({"PORT": "http"}, 1),
        ConfigError,
        'PORT "http": not a whole number',
        "accepted: a whole number from 0 to 65535",
    ),
    (
        lambda: read_platform({"WEB_CONCURRENCY": "many"}, 1),
        ConfigError,
        'WEB_CONCURRENCY "many": not a number of workers',
        "accepted: a number from 1, max (one per CPU), max-1, 50%",
    ),
    (
        lambda: read_platform({"FORWARDED_ALLOW_IPS": "proxy"}, 1),
        ConfigError,
        'FORWARDED_ALLOW_IPS "proxy": "proxy" is neither an address nor a network',
        "accepted: addresses, networks such as 10.0.0.0/8, unix, *",
    ),
    (
        lambda: read_platform({"LISTEN_PID": "1", "LISTEN_FDS": "two"}, 1),
        ConfigError,
        'LISTEN_FDS "two": not a whole number',
        "accepted: a whole number from 0 to 1024",
    ),
]


@pytest.mark.parametrize(
    ("read", "error", "message", "hint"), REFUSALS, ids=[refusal[2] for refusal in REFUSALS]
)
def test_a_mistake_is_refused_where_it_stands(
    read: Callable[[], Layer], error: type[PreforkError], message: str, hint: str
) -> None:
    with pytest.raises(error) as refused:
        read()
    assert (type(refused.value), refused.value.message) == (error, message)
    assert refused.value.hints == ((hint,) if hint else ())


def test_one_option_under_two_names_with_one_value_is_no_conflict() -> None:
    layer = read_flags({"interface": "wsgi", "worker-class": "sync"})
    assert layer.given == {"interface": Given("wsgi", "flag --interface")}


def test_variables_that_are_not_ours_to_read_are_passed_over() -> None:
    foreign = {
        "PATH": "/bin",
        "PREFORK_WORKER_ID": "3",
        "PREFORK_CONTROL": "/run/x",
        "PREFORK_CONFIG": "x.toml",
        "PREFORK_WORKERS": "",
        # what Kubernetes sets for services called `prefork` and `prefork-web`
        "PREFORK_PORT": "tcp://10.0.0.1:80",
        "PREFORK_SERVICE_HOST": "10.0.0.1",
        "PREFORK_SERVICE_PORT": "80",
        "PREFORK_SERVICE_PORT_HTTP": "80",
        "PREFORK_PORT_80_TCP": "tcp://10.0.0.1:80",
        "PREFORK_PORT_80_TCP_ADDR": "10.0.0.1",
        "PREFORK_WEB_PORT": "tcp://10.0.0.2:80",
        "PREFORK_WEB_SERVICE_HOST": "10.0.0.2",
    }
    assert read_variables(foreign) == Layer({})
    assert read_variables({"PREFORK_PORT": "80"}).given == {"port": Given(80, "env PREFORK_PORT")}


@pytest.mark.parametrize(
    ("environ", "given"),
    [
        ({}, {}),
        ({"PORT": "", "WEB_CONCURRENCY": "", "LISTEN_FDS": "", "FORWARDED_ALLOW_IPS": ""}, {}),
        ({"PORT": "5000"}, {"port": Given(5000, "env PORT")}),
        (
            {"FORWARDED_ALLOW_IPS": "10.0.0.0/8,unix"},
            {"forwarded-allow-ips": Given(("10.0.0.0/8", "unix"), "env FORWARDED_ALLOW_IPS")},
        ),
        (
            {"LISTEN_PID": "77", "LISTEN_FDS": "2", "PORT": "5000"},
            {"bind": Given((Address("fd", fd=3), Address("fd", fd=4)), "env LISTEN_FDS")},
        ),
        (
            {"LISTEN_PID": "77", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:not clean"},
            {"bind": Given((Address("fd", fd=3, label="web"), Address("fd", fd=4)), "env LISTEN_FDS")},
        ),
        (
            {"LISTEN_PID": "77", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "one:too many"},
            {"bind": Given((Address("fd", fd=3),), "env LISTEN_FDS")},
        ),
        ({"LISTEN_PID": "77", "LISTEN_FDS": "0"}, {}),
        ({"LISTEN_PID": "78", "LISTEN_FDS": "2", "PORT": "5000"}, {"port": Given(5000, "env PORT")}),
        ({"LISTEN_FDS": "2"}, {}),
    ],
)
def test_platforms_set_addresses(environ: dict[str, str], given: dict[str, Given]) -> None:
    assert read_platform(environ, 77) == Layer(given, default_host="0.0.0.0")
