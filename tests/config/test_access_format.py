"""The format of the access log is taken apart as gunicorn takes it, or refused with the nearest atom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.access_format import ATOMS, DEFAULT_FORMAT, Atom, parse_access_format, split_format
from prefork.config.values import RefusedValueError


def test_gunicorns_default_is_ours() -> None:
    letters = [piece.letter for piece in split_format(DEFAULT_FORMAT) if isinstance(piece, Atom)]
    assert letters == list("hlutrsbfa")


@pytest.mark.parametrize("atom", [*ATOMS, "{X-Foo}i", "{x-foo}o", "{REMOTE_PORT}e"])
def test_every_atom_is_known(atom: str) -> None:
    assert parse_access_format(f"a %({atom})s b") == f"a %({atom})s b"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("100%% %(s)s", ("100% ", Atom("s"))),
        ("%(D)d", (Atom("D"),)),
        ("%({X-Foo}i)s%({Foo_Bar}e)s", (Atom("i", "x-foo"), Atom("e", "Foo_Bar"))),
        ("plain", ("plain",)),
        ("%%%%", ("%%",)),
        ("{%(s)s}\t", ("{", Atom("s"), "}\t")),
    ],
)
def test_a_format_is_split_into_texts_and_atoms(text: str, pieces: tuple[str | Atom, ...]) -> None:
    assert split_format(text) == pieces


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("%(x)s", "no atom %(x)s", "did you mean %(X)s?"),
        ("%(status)s", "no atom %(status)s", "did you mean %(s)s?"),
        ("%(user-agent)s", "no atom %(user-agent)s", "did you mean %(a)s?"),
        ("%({X-Foo})s", "no atom %({X-Foo})s", "did you mean %({X-Foo}i)s?"),
        ("%({X-Foo}x)s", "no atom %({X-Foo}x)s", "did you mean %({X-Foo}i)s?"),
        ("%h %l", "%h %l is no atom", "accepted: %(h)s for an atom, %% for a percent sign"),
        ("%(h)", "%(h) is no atom", "accepted: %(h)s for an atom, %% for a percent sign"),
        ("100%", "% is no atom", "accepted: %(h)s for an atom, %% for a percent sign"),
        ("a\nb", "holds control bytes or is not UTF-8", "accepted: printable UTF-8 text, and tabs"),
        ("", "not a text", "accepted: a text that is not empty"),
    ],
)
def test_what_is_no_atom_is_refused_with_the_nearest(text: str, message: str, hint: str) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse_access_format(text)
    assert refused.value.message == message
    assert refused.value.hints[0] == hint


@given(st.text(alphabet="%(){}sdhXie -\\\"'x"))
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        pieces = split_format(text)
    except RefusedValueError:
        return
    again = "".join(
        piece.replace("%", "%%") if isinstance(piece, str) else f"%({_spell(piece)})s" for piece in pieces
    )
    assert split_format(again) == pieces


def _spell(atom: Atom) -> str:
    return f"{{{atom.name}}}{atom.letter}" if atom.name else atom.letter
