"""What a terminal sends when somebody presses a key → the key's name. Pure; see console_codes(4)."""

from __future__ import annotations

_SEQUENCES = {
    "[A": "up", "[B": "down", "OA": "up", "OB": "down",
    "[5~": "pageup", "[6~": "pagedown",
    "[H": "home", "[F": "end", "OH": "home", "OF": "end", "[1~": "home", "[4~": "end", "[7~": "home", "[8~": "end",
}  # fmt: skip
_NAMES = {"\r": "enter", "\n": "enter", "\t": "tab", "\x1b": "escape", "\x0c": "redraw", "\x03": "q"}
_LONGEST = 16


def split_keys(typed: str) -> tuple[list[str], str]:
    """The names of the keys, and the beginning of one of which the rest has not arrived yet.

    A printable character is its own name. Sequences that mean nothing to us are swallowed whole.
    """
    keys: list[str] = []
    while typed:
        if typed[0] == "\x1b" and typed[1:2] in ("[", "O"):
            end = _find_end(typed)
            if end is None:
                return keys, typed if len(typed) < _LONGEST else ""
            if name := _SEQUENCES.get(typed[1:end]):
                keys.append(name)
            typed = typed[end:]
            continue
        key = typed[0]
        if name := _NAMES.get(key, key if key.isprintable() else ""):
            keys.append(name)
        typed = typed[1:]
    return keys, ""


def _find_end(typed: str) -> int | None:
    """Behind the letter or `~` that ends a sequence; None if it is not there yet."""
    if typed[1] == "O":
        return 3 if len(typed) > 2 else None
    for index in range(2, len(typed)):
        if "@" <= typed[index] <= "~":
            return index + 1
    return None
