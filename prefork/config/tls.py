"""TLS, as its options are written: by us, by gunicorn and uvicorn (numbers of Python's `ssl` module), by OpenSSL."""

from __future__ import annotations

from prefork.config.values import RefusedValueError, parse_choice

CERT_REQS = ("none", "optional", "required")
"""In the order of `ssl.CERT_NONE`, `CERT_OPTIONAL`, `CERT_REQUIRED`: 0, 1, 2."""
TLS_VERSIONS = ("1.2", "1.3")


def parse_cert_reqs(value: object) -> str:
    """One of `CERT_REQS`, also by its number or as `CERT_OPTIONAL`."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value < len(CERT_REQS) else value
    if isinstance(value, str):
        word = value.strip().lower().removeprefix("cert_")
        value = CERT_REQS[int(word)] if word in {"0", "1", "2"} else word
    return parse_choice(value, CERT_REQS)


def parse_tls_version(value: object) -> str:
    """`1.2` or `1.3`, also a TOML number or `TLSv1.2`."""
    if isinstance(value, float):
        value = str(value)
    if isinstance(value, str):
        value = value.strip().lower().removeprefix("tls").removeprefix("v").replace("_", ".")
    return parse_choice(value, TLS_VERSIONS)


def parse_secret(value: object) -> str:
    """Any text but an empty one. It is in no message: what is refused here is no text at all."""
    if not isinstance(value, str) or not value:
        raise RefusedValueError("not a text", "a text that is not empty")
    return value
