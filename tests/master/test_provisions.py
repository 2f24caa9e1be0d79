"""What the master opens for configurations: once, whole or not at all, and for as long as one of them needs it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from prefork.config.model import Config
from prefork.errors import AddressInUseError, ConfigError, NoPermissionError, PreforkError
from prefork.master.provisions import Provider, Provision
from tests.system.children import list_fds


@pytest.fixture
def provider() -> Iterator[Provider]:
    logger = logging.getLogger("prefork")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    before = list_fds()
    provider = Provider()
    yield provider
    provider.close_listeners()
    provider.retain([])
    assert list_fds() <= before, "every descriptor was given back"
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


def make_config(*bind: str, **fields: object) -> Config:
    return msgspec.convert({"app": "shop:app", "bind": bind or ("127.0.0.1:0",), **fields}, Config)


def numbers(provision: Provision) -> list[int]:
    return list(provision.listeners)


def test_what_two_configurations_name_is_bound_once_and_numbers_are_never_given_again(
    provider: Provider, tmp_path: Path
) -> None:
    shop = f"unix:{tmp_path}/shop.sock"
    first = provider.provide(make_config("127.0.0.1:0", shop))
    second = provider.provide(make_config(shop, "127.0.0.2:0"))
    assert (numbers(first), numbers(second)) == ([1, 2], [2, 3])
    assert first.listeners[2] is second.listeners[2]
    assert list(provider.retain([second])) == [1]
    assert numbers(provider.provide(make_config("127.0.0.1:0"))) == [4]


def test_free_ports_are_counted(provider: Provider) -> None:
    one, two = make_config(), make_config("127.0.0.1:0", "127.0.0.1:0")
    assert [numbers(provider.provide(config)) for config in (one, two, one)] == [[1], [1, 2], [1]]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"bind": ("127.0.0.1:0", "unix:{tmp_path}/new.sock", "{taken}")}, AddressInUseError),
        ({"bind": ("unix:{tmp_path}/new.sock",), "log_file": "{tmp_path}/no/directory.log"}, ConfigError),
        ({"bind": ("{taken}",), "log_file": "{tmp_path}/new.log"}, AddressInUseError),
        ({"bind": ("unix:{tmp_path}/new.sock",), "workers": 513}, ConfigError),
        ({"bind": ("unix:{tmp_path}/new.sock",), "user": "no-such-user"}, ConfigError),
    ],
)
def test_a_configuration_gets_everything_or_nothing(
    provider: Provider, tmp_path: Path, change: dict[str, object], error: type[PreforkError]
) -> None:
    kept = provider.provide(make_config())
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        names = {"tmp_path": tmp_path, "taken": f"127.0.0.1:{foreign.getsockname()[1]}"}
        fields = {
            key: tuple(each.format(**names) for each in value)
            if isinstance(value, tuple)
            else value.format(**names)
            if isinstance(value, str)
            else value
            for key, value in change.items()
        }
        before = list_fds()
        with pytest.raises(error):
            provider.provide(msgspec.structs.replace(kept.config, **fields))
        assert list_fds() <= before
    assert not list(tmp_path.glob("*.sock"))
    assert kept.listeners[1].sock.getsockname()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_another_user_is_refused_before_anything_is_opened(provider: Provider, tmp_path: Path) -> None:
    with pytest.raises(NoPermissionError):
        provider.provide(make_config(f"unix:{tmp_path}/new.sock", user="root"))
    assert not list(tmp_path.iterdir())


def test_what_is_not_needed_any_more_is_named_and_lets_nobody_in(provider: Provider, tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    provision = provider.provide(make_config("127.0.0.1:0", f"unix:{path}"))
    address = provision.listeners[1].sock.getsockname()
    copy = provision.listeners[1].sock.dup()  # a worker's
    with copy, socket.create_connection(address) as waiting:
        assert provider.retain([]) == {1: f"127.0.0.1:{address[1]}", 2: f"unix:{path}"}
        assert not path.exists()
        with pytest.raises(TimeoutError):
            socket.create_connection(address, 0.2)
        copy.settimeout(5)
        accepted, client = copy.accept()
        with accepted:
            assert client == waiting.getsockname()


def test_a_log_is_opened_once_and_anew_when_its_path_leads_elsewhere(
    provider: Provider, tmp_path: Path
) -> None:
    path = tmp_path / "shop.log"
    config = make_config(log_file=str(path))
    first = provider.provide(config)
    assert provider.provide(config).log is first.log
    path.rename(tmp_path / "rotated.log")
    second = provider.provide(config)
    assert second.log is not first.log
    assert path.exists()
    provider.retain([second])
    assert provider.provide(config).log is second.log


def test_reopening_keeps_the_descriptor_that_others_know(provider: Provider, tmp_path: Path) -> None:
    path = tmp_path / "shop.log"
    provision = provider.provide(make_config(log_file=str(path)))
    path.rename(tmp_path / "rotated.log")
    assert provision.log is not None
    os.close(provider.reopen_log(provision.log, provision.config))
    os.write(provision.log_fd(), b"line\n")
    assert path.read_bytes() == b"line\n"


def test_a_configuration_in_force_changes_the_log_and_the_listeners_that_stay(
    provider: Provider, tmp_path: Path
) -> None:
    path = tmp_path / "shop.sock"
    old = provider.provide(make_config(f"unix:{path}"))
    new = provider.provide(
        make_config(
            f"unix:{path}",
            socket_mode=0o600,
            backlog=7,
            log_file=str(tmp_path / "shop.log"),
            log_level="error",
        )
    )
    provider.put_in_force(new, old)
    assert path.stat().st_mode & 0o777 == 0o600
    logging.getLogger("prefork.master").warning("not this")
    logging.getLogger("prefork.master").error("but this")
    assert (tmp_path / "shop.log").read_text().endswith("[ERROR] but this\n")
    provider.put_in_force(old, new)
    assert path.stat().st_mode & 0o777 == 0o660
