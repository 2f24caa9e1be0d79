"""An app's own words, in a message: whatever they are, the message can be sent and is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefork.errors import AppError, ConfigError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_zygote
from prefork.ipc.foreign import describe_failure, fit

any_text = st.text(st.characters(codec=None))  # lone surrogates too


def test_a_failure_is_told_whole_where_it_fits() -> None:
    error = AppError("no module named shop", "is it installed?", traceback="Traceback …\n")
    assert describe_failure(error) == ("no module named shop", ("is it installed?",), "Traceback …\n")
    assert describe_failure(ConfigError("no user 'shop'", "make it")) == ("no user 'shop'", ("make it",), "")


@pytest.mark.parametrize("character", ["x", "\x00", '"', "é", "😀", "\udc80"])
def test_a_failure_of_any_length_reaches_the_master(character: str) -> None:
    text = character * 1_000_000
    failed = say.ImportFailed(*describe_failure(AppError(text, text, text, text, traceback=text)))
    assert read_from_zygote().feed(encode(failed)) == [failed]


@settings(deadline=None)
@given(any_text, any_text)
def test_any_text_at_all_reaches_the_master(message: str, traceback: str) -> None:
    failed = say.ImportFailed(*describe_failure(AppError(message, traceback=traceback)))
    assert read_from_zygote().feed(encode(failed)) == [failed]


def test_what_is_too_long_keeps_both_ends() -> None:
    assert fit("begin" + "x" * 100 + "end", limit=10) == "begin … xxend"
    assert fit("0123456789", limit=10) == "0123456789"


def test_a_byte_that_was_no_utf_8_is_shown_escaped() -> None:
    assert fit("caf\udce9.py") == "caf\\udce9.py"
