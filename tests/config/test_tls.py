"""TLS options are read as we, gunicorn, uvicorn and OpenSSL write them, and a secret is never shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefork.config.kinds import SECRET
from prefork.config.options import NAMES
from prefork.config.tls import parse_cert_reqs, parse_secret, parse_tls_version
from prefork.config.values import RefusedValueError

ACCEPTED: list[tuple[Callable[[object], str], object, str]] = [
    (parse_cert_reqs, "Optional", "optional"),
    (parse_cert_reqs, 0, "none"),
    (parse_cert_reqs, "2", "required"),
    (parse_cert_reqs, "CERT_REQUIRED", "required"),
    (parse_tls_version, "1.2", "1.2"),
    (parse_tls_version, 1.3, "1.3"),
    (parse_tls_version, "TLSv1.3", "1.3"),
    (parse_tls_version, "TLSv1_2", "1.2"),
    (parse_secret, " any thing\u00e9\udc80", " any thing\u00e9\udc80"),
]


@pytest.mark.parametrize(("parse", "value", "parsed"), ACCEPTED)
def test_every_spelling_is_one_value(parse: Callable[[object], str], value: object, parsed: str) -> None:
    assert parse(value) == parsed


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (parse_cert_reqs, 3),
        (parse_cert_reqs, True),
        (parse_cert_reqs, "maybe"),
        (parse_tls_version, "1.1"),
        (parse_tls_version, 1),
        (parse_tls_version, "SSLv3"),
        (parse_secret, ""),
        (parse_secret, 7),
    ],
)
def test_anything_else_is_refused(parse: Callable[[object], str], value: object) -> None:
    with pytest.raises(RefusedValueError):
        parse(value)


def test_a_secret_shows_only_that_it_is_there() -> None:
    assert (SECRET.show("open sesame"), SECRET.show(None)) == ("hidden", "none")


def test_the_peers_names_are_taken() -> None:
    names = {
        "ssl-certfile": "certfile",
        "ssl-keyfile": "keyfile",
        "ssl-ca-certs": "ca-certs",
        "ssl-cert-reqs": "cert-reqs",
        "ciphers": "ssl-ciphers",
        "proxy-allow-from": "forwarded-allow-ips",
    }
    assert {name: NAMES[name].option.key for name in names} == names
