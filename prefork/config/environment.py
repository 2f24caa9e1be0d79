"""The app's environment: `-e K=V`, a TOML table, the text of an `--env-file` → names and values.

These are for the app. What prefork itself is configured by is read from its own environment, never from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from prefork.config.values import RefusedValueError
from prefork.errors import ConfigError

_ACCEPTED = "KEY=VALUE"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$", "`": "`"}


def parse_pairs(value: object) -> dict[str, str]:
    """A table, a list of `K=V`, or text with one `K=V` a line. Values stay as they are, also when empty."""
    if isinstance(value, Mapping):
        return {_check_name(name): _read_value(item) for name, item in value.items()}
    if isinstance(value, str):
        value = [line for line in value.splitlines() if line.strip()]
    if not isinstance(value, list | tuple):
        raise RefusedValueError("not an environment", 'KEY=VALUE; in TOML also { KEY = "value" }')
    pairs = {}
    for item in value:
        if not isinstance(item, str) or "=" not in item:
            instead = f"--profile {item} chooses a [profile.{item}]" if _is_word(item) else ""
            raise RefusedValueError("no = in it", _ACCEPTED, instead=instead)
        name, _, text = item.partition("=")
        pairs[_check_name(name)] = _read_value(text)
    return pairs


def parse_env_file(text: str, source: str) -> dict[str, str]:
    r"""Read `KEY=VALUE` lines as Docker, systemd and the shells agree on them; `source` names the file in errors.

    Blank lines and lines of `#` are skipped, `export` is allowed, single quotes are literal, double quotes know
    `\n \t \r \" \\ \$`, an unquoted value ends at ` #`. Nothing is expanded.
    """
    pairs = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigError(f"{source}, line {number}: no KEY=VALUE", "lines are KEY=VALUE or # comments")
        try:
            pairs[match[1]] = _read_value(_unquote(match[2]))
        except RefusedValueError as refused:
            raise ConfigError(f"{source}, line {number}: {refused.message}", *refused.hints) from None
    return pairs


def _is_word(item: object) -> bool:
    # PM2's --env NAME.
    return isinstance(item, str) and item.isidentifier() and item.islower()


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RefusedValueError("not the name of a variable", "letters, digits and _, no digit in front")
    return name


def _read_value(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RefusedValueError("a variable is text", 'a text such as "true" or "1"')
    try:
        text = str(value)
    except ValueError:  # an int beyond sys.get_int_max_str_digits()
        raise RefusedValueError("a huge number", "a text") from None
    # putenv(3) ends at NUL; a surrogate stands for a byte that was no UTF-8, and the configuration travels as JSON.
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise RefusedValueError("holds NUL or is not UTF-8", "UTF-8 text")
    return text


def _unquote(text: str) -> str:
    if text[:1] not in {"'", '"'}:
        return re.split(r"\s+#", text, maxsplit=1)[0] if not text.startswith("#") else ""
    pattern = r"'([^']*)'" if text[0] == "'" else r'"((?:[^"\\]|\\.)*)"'
    match = re.fullmatch(pattern + r"\s*(?:#.*)?", text)
    if match is None:
        raise RefusedValueError("the quote is not closed, or text follows it", "'text' or \"text\"")
    if text[0] == "'":
        return match[1]
    return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), match[1])
