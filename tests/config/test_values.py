"""Values: what each kind of text means, and that nothing but our error comes out of a parser."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prefork.config.options import NAMES
from prefork.config.values import (
    RefusedValueError,
    parse_boolean,
    parse_count,
    parse_duration,
    parse_milliseconds,
    parse_mode,
    parse_name,
    parse_positive_duration,
    parse_positive_share,
    parse_root_path,
    parse_share,
    parse_size,
    parse_umask,
    quote,
    resolve_share,
)

HUGE = 10**5000
"""`str()` refuses it: see sys.set_int_max_str_digits()."""

ACCEPTED: list[tuple[Callable[[object], object], object, object]] = [
    (parse_duration, "30", 30.0),
    (parse_duration, "0", 0.0),
    (parse_duration, " 1.5 ", 1.5),
    (parse_duration, "30s", 30.0),
    (parse_duration, "5M", 300.0),
    (parse_duration, "1h", 3600.0),
    (parse_duration, "1d", 86400.0),
    (parse_duration, "250ms", 0.25),
    (parse_duration, "1m30s", 90.0),
    (parse_duration, 5, 5.0),
    (parse_duration, 0.25, 0.25),
    (parse_milliseconds, "1600", 1.6),
    (parse_milliseconds, 1600, 1.6),
    (parse_milliseconds, "5s", 5.0),
    (parse_size, "8190", 8190),
    (parse_size, "512M", 512 * 1024**2),
    (parse_size, "1g", 1024**3),
    (parse_size, "1.5 KiB", 1536),
    (parse_size, "2kb", 2048),
    (parse_size, 0, 0),
    (parse_share, " 2 ", "2"),
    (parse_share, 3, "3"),
    (parse_share, "025 %", "25%"),
    (parse_share, "0%", "0%"),
    (parse_positive_share, "100%", "100%"),
    (parse_mode, "660", 0o660),
    (parse_mode, "0660", 0o660),
    (parse_mode, "0o600", 0o600),
    (parse_mode, 0o600, 0o600),
    (parse_umask, "022", 0o22),
    (parse_umask, "22", 0o22),
    (parse_umask, 0o22, 0o22),
    (parse_umask, 0, 0),
    (parse_boolean, "Yes", True),
    (parse_boolean, "0", False),
    (parse_boolean, True, True),
    (parse_count, " 12 ", 12),
    (parse_count, 12, 12),
    (parse_root_path, "/api/", "/api"),
    (parse_root_path, "", ""),
    (parse_name, "shop-2.web_1", "shop-2.web_1"),
]


@pytest.mark.parametrize(("parse", "written", "meant"), ACCEPTED)
def test_a_value_means_one_thing(parse: Callable[[object], object], written: object, meant: object) -> None:
    assert parse(written) == meant


REFUSED: list[tuple[Callable[[object], object], object, str]] = [
    (parse_duration, "", "not a duration"),
    (parse_duration, "soon", "not a duration"),
    (parse_duration, "30 s", "not a duration"),
    (parse_duration, "1e3", "not a duration"),
    (parse_duration, "nan", "not a duration"),
    (parse_duration, "inf", "not a duration"),
    (parse_duration, "٣s", "not a duration"),
    (parse_duration, "-5s", "negative"),
    (parse_duration, -5, "negative"),
    (parse_duration, math.nan, "not a duration"),
    (parse_duration, math.inf, "longer than 24 days"),
    (parse_duration, "9" * 400, "longer than 24 days"),
    (parse_duration, "25d", "longer than 24 days"),
    (parse_duration, True, "not a duration"),
    (parse_duration, ["5s"], "not a duration"),
    (parse_positive_duration, "0", "must be more than 0"),
    (parse_size, "-1", "not a size"),
    (parse_size, -1, "negative"),
    (parse_size, "1.5.2K", "not a size"),
    (parse_size, "512X", "not a size"),
    (parse_size, "9" * 400, "too large"),
    (parse_size, False, "not a size"),
    (parse_share, "101%", "more than 100%"),
    (parse_share, "-1", "below 0"),
    (parse_share, "half", "not a whole number"),
    (parse_positive_share, "0", "must be more than 0"),
    (parse_positive_share, "0%", "must be more than 0"),
    (parse_mode, "0x1ff", "not an octal mode"),
    (parse_mode, "668", "not an octal mode"),
    (parse_mode, "1777", "out of range"),
    (parse_mode, 660, "out of range"),
    (parse_umask, 22, "is decimal here, not octal"),
    (parse_umask, 77, "is decimal here, not octal"),
    (parse_umask, [22], "not an octal mode"),
    (parse_boolean, "maybe", "neither true nor false"),
    (parse_boolean, 2, "neither true nor false"),
    (parse_count, "1.0", "not a whole number"),
    (parse_count, "-1", "below 0"),
    (parse_count, "9" * 5000, "not a whole number"),
    (parse_root_path, "api", "does not start with a slash"),
    (parse_name, "../shop", "not a name"),
    (parse_name, "a" * 65, "not a name"),
    (parse_name, "\udcff", "holds control bytes or is not UTF-8"),
]


@pytest.mark.parametrize(("parse", "written", "problem"), REFUSED)
def test_an_impossible_value_is_refused_with_the_reason(
    parse: Callable[[object], object], written: object, problem: str
) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse(written)
    assert refused.value.message == problem
    assert refused.value.hints[-1].startswith("accepted: ")


@pytest.mark.parametrize(
    ("parse", "problem"),
    [
        (parse_duration, "longer than 24 days"),
        (parse_size, "too large"),
        (parse_count, "above 2147483647"),
        (parse_mode, "out of range"),
    ],
)
def test_an_integer_too_long_to_be_shown_is_refused_all_the_same(
    parse: Callable[[object], object], problem: str
) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse(HUGE)
    assert refused.value.message == problem


TOML_VALUES = st.recursive(
    st.text() | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NEAR_MISSES = st.from_regex(r"(unix:|fd://|tcp://|\[|max|-)?[0-9a-f:.%\]@/=, smhdKMG-]{0,12}", fullmatch=True)
PARSERS = {name.key: name.kind.parse for name in NAMES.values()}


@settings(deadline=None)
@given(TOML_VALUES | NEAR_MISSES)
@example("9" * 5000)
@example("\udcff=\udcff")
def test_no_parser_raises_anything_but_our_error(value: object) -> None:
    try_all_parsers(value)


@pytest.mark.parametrize("wrap", [lambda huge: huge, lambda huge: [huge], lambda huge: {"A": huge}])
def test_no_parser_stumbles_over_a_huge_integer(wrap: Callable[[int], object]) -> None:
    try_all_parsers(wrap(HUGE))
    assert quote(wrap(HUGE)) == "a huge number"


def try_all_parsers(value: object) -> None:
    for parse in PARSERS.values():
        try:
            parse(value)
        except RefusedValueError as refused:
            assert len(refused.message.splitlines()) == 1  # noqa: PT017  # raising is allowed, not required


@given(st.text() | TOML_VALUES)
def test_a_quoted_value_is_one_printable_line_of_bounded_length(value: object) -> None:
    shown = quote(value)
    assert shown.isprintable()
    assert len(shown) <= 61 * len(r"\U0010ffff") + 2


@pytest.mark.parametrize(
    ("share", "whole", "count"),
    [("2", 8, 2), ("25%", 8, 2), ("25%", 9, 3), ("1%", 4, 1), ("0%", 4, 0), ("50%", 0, 0)],
)
def test_a_share_is_a_number_or_a_part_rounded_up(share: str, whole: int, count: int) -> None:
    assert resolve_share(share, whole) == count


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (["a", 1, False], '["a", 1, false]'),
        ({"A": [1.5]}, "{ A = [1.5] }"),
        (dt.date(1979, 5, 27), "1979-05-27"),
        ("line\nbreak", '"line\\nbreak"'),
    ],
)
def test_a_refused_value_is_shown_as_its_file_has_it(value: object, shown: str) -> None:
    assert quote(value) == shown
