"""TOML files: errors name the place, and other people's pyproject.toml is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.documents import read_document, read_pyproject
from prefork.errors import ConfigError


def test_a_document_is_its_top_table() -> None:
    assert read_document(b'\xef\xbb\xbfworkers = "max"\n[env]\nA = "1"\n', "prefork.toml") == {
        "workers": "max",
        "env": {"A": "1"},
    }


@pytest.mark.parametrize(
    ("data", "message", "hints"),
    [
        (b"a = 1\nworkers = max\n", "prefork.toml, line 2, column 11: invalid value", ("workers = max",)),
        (b'name = "x', "prefork.toml, line 1, column 10: expected '\"'", ('name = "x',)),
        (b"a = 1\n\xff = 2\n", "prefork.toml, line 2: not UTF-8", ("TOML files are UTF-8",)),
        (
            b'app = "x"\n[app.shop]\n',
            "prefork.toml, line 2, column 10: cannot overwrite a value",
            ("[app.shop]", "app = … at the top is one app; of several, each has its own in [app.NAME]"),
        ),
        (b"a = " + b"[" * 100_000, "prefork.toml: nested too deeply", ()),
    ],
)
def test_an_error_names_file_line_and_column(data: bytes, message: str, hints: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refused:
        read_document(data, "prefork.toml")
    place = message.partition(": ")[0]
    assert refused.value.message.partition(": ")[0] == place
    if "expected" not in message:  # parsers word that one differently
        assert (refused.value.message, refused.value.hints) == (message, hints)


@pytest.mark.parametrize(
    ("data", "table"),
    [
        (b"this is not [toml", None),
        (b'[project]\nname = "prefork-user"\n', None),
        (b"[tool.prefork]\nworkers = 2\n", {"workers": 2}),
    ],
)
def test_a_pyproject_counts_only_if_it_speaks_of_us(data: bytes, table: object) -> None:
    assert read_pyproject(data, "pyproject.toml") == table


def test_a_tool_prefork_that_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tool\.prefork is not a table"):
        read_pyproject(b"[tool]\nprefork = 1\n", "pyproject.toml")


@given(st.binary() | st.from_regex(rb"[a-z]{1,3} ?= ?[\"'\[{0-9a-z.:+-]{0,12}\n?", fullmatch=True))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        document = read_document(data, "prefork.toml")
    except ConfigError as refused:
        assert "\n" not in refused.message  # noqa: PT017  # raising is allowed, not required
    else:
        assert isinstance(document, dict)
