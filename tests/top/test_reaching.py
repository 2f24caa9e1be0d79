"""Which services the words mean."""

from __future__ import annotations

import pytest

from prefork.control.client import NotRunningError, Service
from prefork.top.reaching import is_open, label_services, pick_names
from tests.top.looks import make_status, make_worker

NAMES = ["api-a", "api-b", "shop"]


def test_names_globs_and_all_are_understood_and_none_means_all() -> None:
    assert pick_names([], NAMES) == NAMES
    assert pick_names(["all"], NAMES) == NAMES
    assert pick_names(["shop", "api-a"], NAMES) == ["api-a", "shop"]
    assert pick_names(["api-*"], NAMES) == ["api-a", "api-b"]


def test_all_and_patterns_mean_those_too_that_come_later() -> None:
    assert [is_open(words) for words in ([], ["all"], ["shop", "api-*"], ["api-[ab]"])] == [True] * 4
    assert not is_open(["shop", "api-a"])


def test_who_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(NotRunningError) as raised:
        pick_names(["shob"], NAMES)

    assert raised.value.message == "shob does not run"
    assert raised.value.hints == ("did you mean shop?        there are: api-a, api-b, shop",)
    assert raised.value.exit_code == 3
    with pytest.raises(NotRunningError, match="no service of yours is running"):
        pick_names([], [])


def test_two_services_of_one_name_are_told_apart() -> None:
    services = [
        Service(f"/{pid}", make_status(make_worker(0), name=name, pid=pid))
        for name, pid in (("shop", 1), ("shop", 2), ("blog", 3))
    ]

    assert {label: service.path for label, service in label_services(services).items()} == {
        "shop-1": "/1",
        "shop-2": "/2",
        "blog": "/3",
    }
