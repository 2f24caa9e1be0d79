"""Text or a TOML value → a value of the right type, in its unit.

Every parser takes whatever stood there (a string from a flag or a variable, a TOML value, a Python keyword's value)
and raises `RefusedValueError`, never anything else. The caller knows where the value stood and adds that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from prefork.errors import ConfigError

MAX_DURATION_S = 24 * 86400.0  # epoll_wait(2) takes milliseconds in a C int, which ends after 24.8 days
MAX_SIZE_BYTES = 2**62
MAX_COUNT = 2**31 - 1
MAX_ID = 2**32 - 2  # uid_t's highest stands for "do not change": see setresuid(2)
MAX_SHOWN = 60

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhd]))+")
_DURATION_PART = re.compile(r"([0-9.]+)(ms|[smhd])")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?")
_UNITS_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_DURATIONS_ACCEPTED = "30s, 5m, 1h, 250ms, or a number of seconds"
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})

Parser = Callable[[object], object]


class RefusedValueError(ConfigError):
    """A value that cannot be what its option needs: why not, what is accepted, and what was probably meant."""

    def __init__(self, problem: str, accepted: str, *, instead: str = "") -> None:
        super().__init__(problem, *([instead] if instead else []), f"accepted: {accepted}")


def quote(value: object) -> str:
    """A user's value for a message: as TOML writes it, on one line, escaped, of bounded length."""
    try:
        text = value if isinstance(value, str) else _write_toml(value)
    except ValueError:  # an int beyond sys.get_int_max_str_digits()
        text = "a huge number"
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return f'"{shown}"' if isinstance(value, str) else shown


def _write_toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case list() | tuple():
            return f"[{', '.join(map(_write_toml, value))}]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_write_toml(item)}" for key, item in value.items()) + " }"
        case None | int() | float():
            return repr(value)
    return str(value)


def parse_text(value: object, accepted: str = "a text that is not empty") -> str:
    """Text that can be shown and passed on: not empty, no control bytes, valid Unicode."""
    if not isinstance(value, str) or not value.strip():
        raise RefusedValueError("not a text", accepted)
    if not is_clean(value):
        raise RefusedValueError("holds control bytes or is not UTF-8", "printable UTF-8 text")
    return value


def is_clean(text: str) -> bool:
    """No control characters, and no surrogates: those stand for bytes that were no UTF-8, and JSON has none."""
    return not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in text)


def parse_root_path(value: object) -> str:
    """The path the app is mounted at: `/api`, without a slash at the end; empty for none (ASGI `root_path`)."""
    if value == "":
        return ""
    text = parse_text(value).rstrip("/")
    if text and not text.startswith("/"):
        raise RefusedValueError("does not start with a slash", "a path such as /api")
    return text


def parse_owner(value: object) -> str:
    """A user or a group, by name or by number; whether it exists is the operating system's to say."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ID:
        return str(value)
    return parse_text(value)


def parse_name(value: object) -> str:
    """The service's name: it stands in process titles, log lines and file names."""
    text = parse_text(value)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", text):
        raise RefusedValueError("not a name", "letters, digits, _ . - (64 at most, no . or - in front)")
    return text


def parse_log_file(value: object) -> str | None:
    """A path, or None for `-`: standard error."""
    text = parse_text(value)
    return None if text == "-" else text


def parse_access_log(value: object) -> str | None:
    """A path, `-` for standard output, None for no access log; yes and no are accepted too."""
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE):
        return "-" if parse_boolean(value) else None
    return parse_text(value, "a path, - for standard output, false for none")


def parse_boolean(value: object) -> bool:
    """True or false, as TOML has it or as people write it in a variable."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise RefusedValueError("neither true nor false", "true, yes, on, 1, false, no, off, 0")


def parse_count(value: object, *, at_least: int = 0, at_most: int = MAX_COUNT) -> int:
    """A whole number within bounds, both included."""
    accepted = f"a whole number from {at_least} to {at_most}"
    if at_most == MAX_COUNT:
        accepted = f"a whole number, {at_least} or more"
    # Longer texts are out of any bounds, and int() refuses thousands of digits with an error of its own.
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RefusedValueError("not a whole number", accepted)
    if not at_least <= value <= at_most:
        raise RefusedValueError(f"below {at_least}" if value < at_least else f"above {at_most}", accepted)
    return value


def parse_duration(value: object) -> float:
    """Seconds from `30s 5m 1h 250ms 1m30s`, or from a plain number of seconds."""
    if isinstance(value, str):
        text = value.strip().lower()
        if _NUMBER.fullmatch(text):
            return _bound_duration(float(text))
        if _DURATION.fullmatch(text):
            return _bound_duration(
                sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(text))
            )
        if re.fullmatch(r"-[0-9.]+(ms|[smhd])?", text):
            raise RefusedValueError("negative", _DURATIONS_ACCEPTED)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # A TOML integer may have thousands of digits, which float() refuses.
        return _bound_duration(value if isinstance(value, float) else float(max(min(value, 2**62), -1)))
    raise RefusedValueError("not a duration", _DURATIONS_ACCEPTED)


def parse_positive_duration(value: object) -> float:
    """As `parse_duration`, but a wait that has no meaning without a limit."""
    if (seconds := parse_duration(value)) == 0:
        raise RefusedValueError("must be more than 0", _DURATIONS_ACCEPTED)
    return seconds


def parse_milliseconds(value: object) -> float:
    """As `parse_duration`, but a plain number is in milliseconds, as in PM2's options of that name."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return parse_duration(parse_duration(min(value, 2**62)) / 1000)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return parse_duration(f"{value.strip()}ms")
    return parse_duration(value)


def parse_positive_milliseconds(value: object) -> float:
    """As `parse_milliseconds`, above 0."""
    return parse_positive_duration(parse_milliseconds(value))


def _bound_duration(seconds: float) -> float:
    if not 0 <= seconds <= MAX_DURATION_S:  # also refuses NaN, which compares false with everything
        if math.isnan(seconds):
            raise RefusedValueError("not a duration", _DURATIONS_ACCEPTED)
        raise RefusedValueError("negative" if seconds < 0 else "longer than 24 days", _DURATIONS_ACCEPTED)
    return seconds


def parse_size(value: object) -> int:
    """Bytes from `512M`, `1G`, `1.5k` (powers of 1024), or from a plain number of bytes."""
    accepted = "512M, 1G, or a number of bytes"
    if isinstance(value, int) and not isinstance(value, bool):
        size: float = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip().lower())):
        number, unit = match.groups()
        size = float(number) * _UNITS_BYTES[unit]
    else:
        raise RefusedValueError("not a size", accepted)
    if not 0 <= size <= MAX_SIZE_BYTES:
        raise RefusedValueError("negative" if size < 0 else "too large", accepted)
    return int(size)


def parse_rate(value: object) -> int:
    """Bytes a second, written as a size."""
    try:
        return parse_size(value)
    except RefusedValueError as refused:
        problem = "not a rate" if refused.message == "not a size" else refused.message
        raise RefusedValueError(problem, "bytes a second: 240, 1K, 0 for no limit") from None


def parse_share(value: object) -> str:
    """A whole number or a percentage of some whole, in normal form: `2`, `25%`."""
    accepted = "a whole number, or a percentage such as 25%"
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9]{1,3})\s*%\s*", value)):
        if int(match[1]) > 100:
            raise RefusedValueError("more than 100%", accepted)
        return f"{int(match[1])}%"
    try:
        return str(parse_count(value))
    except RefusedValueError as refused:
        raise RefusedValueError(refused.message, accepted) from None


def parse_positive_share(value: object) -> str:
    """As `parse_share`, above 0."""
    share = parse_share(value)
    if share in {"0", "0%"}:
        raise RefusedValueError("must be more than 0", "a whole number, or a percentage such as 25%")
    return share


def resolve_share(share: str, whole: int) -> int:
    """What a share comes to, rounded up."""
    return -(-whole * int(share[:-1]) // 100) if share.endswith("%") else int(share)


def parse_mode(value: object) -> int:
    """File mode bits, 0 to 0o777: text is octal (`660`, `0o660`), a TOML integer is taken as it is (`0o660`)."""
    accepted = 'octal text such as "660", in TOML also 0o660'
    mode = value
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(?:0o)?([0-7]{1,5})\s*", value)):
        mode = int(match[1], 8)
    if not isinstance(mode, int) or isinstance(mode, bool):
        raise RefusedValueError("not an octal mode", accepted)
    if not 0 <= mode <= 0o777:
        raise RefusedValueError("out of range", accepted)
    return mode


def parse_umask(value: object) -> int:
    """As `parse_mode`; the decimal integers 22, 27 and 77 are refused, for they would be 0o26, 0o33 and 0o115."""
    if isinstance(value, int) and value in {22, 27, 77}:
        raise RefusedValueError("is decimal here, not octal", f'"0{value}" or 0o{value}')
    return parse_mode(value)


def parse_choice(value: object, choices: Iterable[str]) -> str:
    """One of a few words, in any case."""
    accepted = tuple(choices)
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in accepted:
        raise RefusedValueError("not one of the choices", ", ".join(accepted))
    return word


def split_list(value: object, accepted: str = "a text, or a list of texts") -> tuple[str, ...]:
    """The items of a list of texts; commas divide a text into items, within a list too."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise RefusedValueError("neither a text nor a list of texts", accepted)
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
