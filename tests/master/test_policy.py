"""The Arbiter's view of a configuration: nothing that it could decide by is left behind."""

from __future__ import annotations

import pytest

from prefork.config.model import Config
from prefork.core.policy import Policy
from prefork.master.policy import policy_of

SPLIT = {"surge", "surge_percent"}
SHARED = [name for name in Policy.__struct_fields__ if name in Config.__struct_fields__ and name not in SPLIT]


def test_every_field_is_configured() -> None:
    assert set(Policy.__struct_fields__) - set(SHARED) == SPLIT


@pytest.mark.parametrize("name", SHARED)
def test_a_field_is_taken_from_the_configuration_and_changes_no_other(name: str) -> None:
    config = {"app": "shop:app", name: 123}
    assert policy_of(Config(**config)) == Policy(**{name: 123})  # type: ignore[arg-type] # numbers all of them


def test_a_configuration_that_says_nothing_is_the_policy_that_says_nothing() -> None:
    assert policy_of(Config(app="shop:app")) == Policy()


@pytest.mark.parametrize(
    ("surge", "policy"), [("3", Policy(surge=3)), ("25%", Policy(surge=0, surge_percent=25))]
)
def test_the_surge_is_a_number_or_a_share_of_the_workers(surge: str, policy: Policy) -> None:
    assert policy_of(Config(app="shop:app", surge=surge)) == policy
