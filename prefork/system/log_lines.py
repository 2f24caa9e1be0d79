"""How log lines look, as text and as JSON. Foreign text in them is escaped: it forges no line, drives no terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import msgspec

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Stamps:
    """When a line was written, as text lines say it: in local time, in UTC, or not at all. Rendered once a second."""

    __slots__ = ("_at_s", "_convert", "_text")

    def __init__(self, log_time: str) -> None:
        self._convert = {"local": time.localtime, "utc": time.gmtime}.get(log_time)
        self._at_s = -1
        self._text = ""

    def render(self, seconds: float) -> str:
        """`[2026-01-01 12:00:00 +0000] `, or nothing."""
        if self._convert is not None and int(seconds) != self._at_s:
            self._at_s = int(seconds)
            self._text = time.strftime("[%Y-%m-%d %H:%M:%S %z] ", self._convert(self._at_s))
        return self._text


class TextFormatter(logging.Formatter):
    """`[2026-01-01 12:00:00 +0000] [411] [INFO] event key=value`: gunicorn's shape, which people grep."""

    def __init__(self, log_time: str = "local") -> None:
        super().__init__()
        self._stamps = Stamps(log_time)

    def format(self, record: logging.LogRecord) -> str:
        """One line; control characters of foreign text are escaped."""
        when = self._stamps.render(record.created)
        text = escape(record.getMessage())
        line = f"{when}[{record.process}] [{record.levelname}] {text}{show_fields(fields_of(record))}"
        if record.exc_info:
            line += "\n" + _escape_lines(self.formatException(record.exc_info))
        if detail := getattr(record, "detail", ""):
            line += "\n" + _escape_lines(str(detail).rstrip("\n"))
        return line


class JsonFormatter(logging.Formatter):
    """The same fields as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, always."""
        return msgspec.json.encode(self._collect(record), enc_hook=str).decode()

    def format_within(self, record: logging.LogRecord, most_bytes: int) -> str:
        """The same, long texts shortened until the line is not longer: it must go to a pipe in one piece."""
        said = self._collect(record)
        encoded = msgspec.json.encode(said, enc_hook=str)
        while len(encoded) > most_bytes:
            key = max(said, key=lambda key: len(str(said[key])))
            text = str(said[key])
            # In proportion: a character may take six bytes.
            size = len(msgspec.json.encode(text))
            kept = min(len(text) - 2, len(text) * (size - len(encoded) + most_bytes - 4) // size)
            if kept <= 0:
                said[key] = ""
            else:  # the end of a traceback says more than its beginning
                said[key] = "…" + text[-kept:] if key in {"traceback", "detail"} else text[:kept] + "…"
            encoded = msgspec.json.encode(said, enc_hook=str)
        return encoded.decode()

    def _collect(self, record: logging.LogRecord) -> dict[str, object]:
        said: dict[str, object] = {
            "time": render_json_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "event": record.getMessage(),
        }
        said.update(fields_of(record))
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        if detail := getattr(record, "detail", ""):
            said["detail"] = str(detail)
        return said


def render_json_time(seconds: float) -> str:
    """`2026-01-01T12:00:00.000Z`."""
    whole, millis = divmod(round(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{millis:03d}Z"


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What was passed as `extra=`, `detail` left out: that is several lines of text."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and key != "detail"}


def show_fields(fields: Mapping[str, object]) -> str:
    """` key=value` for each; a value that could be taken for more than one is quoted."""
    return "".join(f" {key}={_show(value)}" for key, value in fields.items())


def escape(text: str) -> str:
    """Escape control characters as repr() does, so that foreign text cannot forge lines or drive a terminal."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def _escape_lines(text: str) -> str:
    return "\n".join(map(escape, text.split("\n")))


def _show(value: object) -> str:
    text = str(value)
    if text and not any(c in text for c in " \t=\"'"):
        return escape(text)
    # The backslash first: else one before a quote would end the field early, and forge the next.
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escape(quoted)}"'
