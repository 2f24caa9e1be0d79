"""`--balance`: our words in any case, a function's name as it stands, nothing else."""

from __future__ import annotations

import pytest

from prefork.config.balance import parse_balance
from prefork.config.values import RefusedValueError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("shared", "shared"),
        ("Round-Robin", "round-robin"),
        ("least_connections", "least-connections"),
        (" ip-hash ", "ip-hash"),
        ("shop.balance:choose", "shop.balance:choose"),
        ("shop:Balance.choose", "shop:Balance.choose"),
    ],
)
def test_a_strategy_is_one_of_our_words_or_a_function_by_its_name(written: str, meant: str) -> None:
    assert parse_balance(written) == meant


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("round-robbin", "did you mean round-robin?"),
        ("least-conn", "did you mean least-connections?"),
        ("shop.balance", ""),
        ("shop:", ""),
        (":choose", ""),
        ("../shop:choose", ""),
        ("shop:a b", ""),
    ],
)
def test_anything_else_is_refused_with_what_was_probably_meant(written: str, instead: str) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse_balance(written)
    assert refused.value.message == "neither a strategy nor the name of one"
    assert refused.value.hints[0].startswith(instead or "accepted: shared, round-robin")
