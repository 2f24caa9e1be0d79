"""The table of options and `Config` agree, and no two rows claim one name."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from prefork.config.model import Config
from prefork.config.option import Option
from prefork.config.options import (
    GROUPS,
    OPTIONS,
    decides_field,
    find_default,
    list_names,
)

DERIVED = {"config_file", "worker_hooks", "workers_why", "read_from"}
"""Told along with other fields, never set."""


def test_every_field_of_config_has_exactly_one_option_named_after_it() -> None:
    assert Counter(option.field for option in OPTIONS if decides_field(option)) == Counter(
        set(Config.__struct_fields__) - DERIVED
    )


def test_every_option_decides_a_field_that_is_there() -> None:
    assert {option.field for option in OPTIONS} <= set(Config.__struct_fields__)


def test_every_default_is_the_one_of_config() -> None:
    defaults = {option.field: find_default(option) for option in OPTIONS if decides_field(option)}
    of_config = msgspec.structs.asdict(Config(app=""))
    assert defaults == {**{f: v for f, v in of_config.items() if f not in DERIVED}, "app": None}


@pytest.mark.parametrize("option", [o for o in OPTIONS if find_default(o) is not None], ids=lambda o: o.key)
def test_a_default_as_it_is_shown_reads_back_as_itself(option: Option) -> None:
    default = find_default(option)
    shown = option.kind.show(default)
    if not default and isinstance(default, str | dict | tuple):
        assert shown == "none"
        return
    parsed = option.kind.parse(shown)
    if option.key == "bind":
        assert isinstance(parsed, tuple)
        assert tuple(map(str, parsed)) == default
    elif option.key == "workers":
        assert option.kind.show(default) == "1"
    else:
        assert parsed == default


def test_no_name_is_taken_twice() -> None:
    names = list_names()
    assert [name for name, count in Counter(name.key for name in names).items() if count > 1] == []
    shorts = Counter(name.short for name in names if name.short) + Counter(["-c", "-h"])
    assert [short for short, count in shorts.items() if count > 1] == []


def test_every_option_is_explained_in_a_group_of_the_help() -> None:
    assert {option.group for option in OPTIONS} == set(GROUPS)
    assert [option.key for option in OPTIONS if not option.help.endswith(".")] == []


@pytest.mark.parametrize(
    "names",
    [
        # Users touch these names: a change of any is a change of the interface.
        "bind host port uds fd workers instances threads interface worker-class factory app-dir pythonpath chdir",
        "env env-file loop balance preload timeout boot-timeout graceful-timeout timeout-graceful-shutdown keep-alive",
        "timeout-keep-alive kill-timeout listen-timeout header-timeout min-uptime max-restarts backlog socket-mode",
        "limit-request-line limit-request-fields limit-request-field-size limit-request-body root-path",
        "server-header date-header log-level log-format log-file error-logfile errorlog name pid user group umask",
        "access-log access-logfile access-log-format no-access-log request-id limit-concurrency worker-connections",
        "forwarded-allow-ips forwarded-headers proxy-headers",
    ],
)
def test_the_promised_names_are_there(names: str) -> None:
    assert set(names.split()) <= {name.key for name in list_names()}


def test_the_promised_short_flags_are_there() -> None:
    assert {name.short: name.option.key for name in list_names() if name.short} == {
        "-b": "bind",
        "-e": "env",
        "-g": "group",
        "-i": "workers",
        "-k": "interface",
        "-m": "umask",
        "-n": "name",
        "-p": "pid",
        "-t": "timeout",
        "-u": "user",
        "-w": "workers",
    }
