"""Which service is meant: what was named, else what is obvious, else nothing is done."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from prefork.cli import picking
from prefork.cli.picking import pick_service, pick_services
from prefork.control.client import NotRunningError, Service
from prefork.control.status import ServiceStatus
from prefork.errors import UsageError


def make_service(name: str, chdir: str = "/", pid: int = 1) -> Service:
    """As its master would tell of it."""
    empty: dict[str, object] = {
        field.name: field.default
        if field.default is not msgspec.NODEFAULT
        else {str: "", int: 0, float: 0.0, bool: True}.get(field.type, ())
        for field in msgspec.structs.fields(ServiceStatus)
    }
    empty |= {"name": name, "chdir": chdir, "pid": pid}
    return Service(f"/run/{name}-{pid}.sock", ServiceStatus(**empty))  # type: ignore[arg-type] # what it does not look at


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Service]:
    services = [make_service("api-1"), make_service("api-2", str(tmp_path)), make_service("shop")]
    monkeypatch.setattr(picking, "find_services", lambda _: services)
    monkeypatch.chdir(os.sep)
    return services


def names(*words: str) -> list[str]:
    return [service.name for service in pick_services(words)]


def test_names_globs_and_all_each_once(running: list[Service]) -> None:
    assert names("shop") == ["shop"]
    assert names("api-*", "api-1") == ["api-1", "api-2"]
    assert names("all") == ["api-1", "api-2", "shop"]
    with pytest.raises(NotRunningError, match=r"nope is not running\n.*there is: api-1, api-2, shop"):
        names("shop", "nope")


def test_without_a_name_the_directorys_own_is_meant(
    running: list[Service], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir("/etc")
    with pytest.raises(UsageError, match="3 services are running, which one"):
        names()
    monkeypatch.chdir(tmp_path)
    assert names() == ["api-2"]
    (tmp_path / "prefork.toml").write_text('name = "shop"\n')
    assert names() == ["shop"], "what the file calls it comes first"


def test_the_only_one_is_meant_wherever_one_is(running: list[Service]) -> None:
    del running[1:]
    assert names() == ["api-1"]
    running.clear()
    with pytest.raises(NotRunningError, match="nothing is running"):
        names()


def test_one_name_of_two_services_is_not_one(running: list[Service]) -> None:
    running += [make_service("shop", pid=7)]
    with pytest.raises(UsageError, match=r"shop means 2 services: shop \(pid 1\), shop \(pid 7\)"):
        pick_service("shop")
