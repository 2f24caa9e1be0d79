"""The app's environment: pairs, tables, and the lines of an env file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.environment import parse_env_file, parse_pairs
from prefork.config.values import RefusedValueError
from prefork.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "pairs"),
    [
        (("A=1", "B=x=y", "C="), {"A": "1", "B": "x=y", "C": ""}),
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ({"A": "1", "PORT": 3000, "RATE": 0.5}, {"A": "1", "PORT": "3000", "RATE": "0.5"}),
        ({}, {}),
    ],
)
def test_pairs_are_text_a_list_or_a_table(written: object, pairs: dict[str, str]) -> None:
    assert parse_pairs(written) == pairs


@pytest.mark.parametrize(
    "written",
    [
        ("A",),
        ("=1",),
        ("1A=1",),
        ("A B=1",),
        {"A": True},
        {"A": ["x"]},
        ("A=\0",),
        ("A=\udcff",),
        5,
        {"A": None},
    ],
)
def test_what_is_no_variable_is_refused(written: object) -> None:
    with pytest.raises(RefusedValueError):
        parse_pairs(written)


ENV_FILE = r"""
# a comment
A=1
export B = two words   # not the value
C='single # $X \n'
D="double \"x\" \n \$Y \\ \z"   # here too
E=
F=#nothing
URL=http://x/#anchor
MULTI.PART=yes
"""


def test_an_env_file_reads_as_docker_and_shells_agree() -> None:
    assert parse_env_file("\ufeff" + ENV_FILE, ".env") == {
        "A": "1",
        "B": "two words",
        "C": r"single # $X \n",
        "D": 'double "x" \n $Y \\ \\z',
        "E": "",
        "F": "",
        "URL": "http://x/#anchor",
        "MULTI.PART": "yes",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nB", ".env, line 2: no KEY=VALUE"),
        ("A='x", ".env, line 1: the quote is not closed, or text follows it"),
        ('A="x"y', ".env, line 1: the quote is not closed, or text follows it"),
        ("A=\0", ".env, line 1: holds NUL or is not UTF-8"),
    ],
)
def test_a_bad_line_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_env_file(text, ".env")
    assert refused.value.message == message


@given(st.text() | st.from_regex(r"(export )?[A-Z]{1,3} ?= ?['\"]?[a-z\\#\"' ]{0,10}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        pairs = parse_env_file(text, ".env")
    except ConfigError:
        return
    assert all(isinstance(value, str) for value in pairs.values())
