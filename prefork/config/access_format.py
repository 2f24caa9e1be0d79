"""The format of the access log: text with gunicorn's atoms in it → literal pieces and atoms.

Pure. Checked when the configuration is read, compiled when a worker opens its log. Letters mean what they mean to
gunicorn; the words are ours. `%(X)s` stands for an atom, `%%` for a percent sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from prefork.config.nearest import find_nearest
from prefork.config.values import RefusedValueError

DEFAULT_FORMAT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
"""gunicorn's, which is Apache's `combined`."""

ATOMS: Mapping[str, str] = MappingProxyType(
    {
        "h": "client address",
        "l": "-",
        "u": "user name of basic authentication",
        "t": "time the response ended",
        "r": "request line",
        "m": "method",
        "U": "path, as sent",
        "q": "query string",
        "H": "protocol",
        "s": "status",
        "B": "body bytes sent",
        "b": "body bytes sent, - for none",
        "f": "referrer",
        "a": "user agent",
        "T": "whole seconds taken",
        "D": "microseconds taken",
        "M": "milliseconds taken",
        "L": "seconds taken, with six decimals",
        "p": "<pid>",
        "id": "request id",
        "X": "X if the response was broken off, + if the connection may go on, - if it ends",
    }
)
"""Every atom but the three with a name in braces: `{Header}i`, `{Header}o`, `{Variable}e`."""

_PLACE = re.compile(r"%(?:%|\(([^()%]*)\)([sd]))")
_NAMED = re.compile(r"\{([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\}([ioe])")
_ACCEPTED = f"%(X)s, X being one of {' '.join(ATOMS)}, {{Header}}i {{Header}}o {{Variable}}e"


class Atom(msgspec.Struct, frozen=True):
    """One thing that a line tells."""

    letter: str
    """One of ATOMS, or `i`, `o`, `e`."""
    name: str = ""
    """What stands in the braces of the latter, in lower case; of a variable as written."""


def parse_access_format(value: object) -> str:
    """The format as it was given, if every atom in it is known. Raises `RefusedValueError`."""
    if not isinstance(value, str) or not value.strip():
        raise RefusedValueError("not a text", "a text that is not empty")
    if any((c < " " and c != "\t") or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in value):
        raise RefusedValueError("holds control bytes or is not UTF-8", "printable UTF-8 text, and tabs")
    if not any(isinstance(piece, Atom) for piece in split_format(value)):
        instead = "--log-format json makes each line an object" if value.strip().lower() == "json" else ""
        raise RefusedValueError(
            "no atom in it: every line would be the same", "text with %(h)s %(r)s %(s)s …", instead=instead
        )
    return value


def split_format(text: str) -> tuple[str | Atom, ...]:
    """The pieces in order; no two texts stand side by side. Raises `RefusedValueError`."""
    pieces: list[str | Atom] = []
    literal, at = "", 0
    while (place := text.find("%", at)) >= 0:
        literal += text[at:place]
        match = _PLACE.match(text, place)
        if match is None:
            near = text[place : place + 12]
            raise RefusedValueError(f"{near} is no atom", "%(h)s for an atom, %% for a percent sign")
        at = match.end()
        if match[0] == "%%":
            literal += "%"
            continue
        pieces += [literal] if literal else []
        literal = ""
        pieces.append(_read_atom(match[1]))
    literal += text[at:]
    return (*pieces, literal) if literal else tuple(pieces)


def _read_atom(word: str) -> Atom:
    if word in ATOMS:
        return Atom(word)
    if named := _NAMED.fullmatch(word):
        name, letter = named.groups()
        return Atom(letter, name if letter == "e" else name.lower())
    near = next((atom for atom in ATOMS if atom.lower() == word.lower()), None) or _guess(word)
    raise RefusedValueError(
        f"no atom %({word[:20]})s", _ACCEPTED, instead=f"did you mean %({near})s?" if near else ""
    )


def _guess(word: str) -> str | None:
    """What a word probably means: a header with another letter behind it, the words of our explanations."""
    if braces := re.match(r"\{[!-z]+\}", word):
        return braces[0] + "i"
    meanings = {meaning.partition(",")[0]: atom for atom, meaning in ATOMS.items()}
    near = find_nearest(word.replace("_", " ").replace("-", " ").lower(), meanings)
    return meanings[near] if near else find_nearest(word, ATOMS)
