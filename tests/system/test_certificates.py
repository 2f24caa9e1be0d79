"""Certificates that no worker could use are refused, with the name of the file, before anything depends on them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prefork.config.model import Config
from prefork.errors import ConfigError, NoPermissionError
from prefork.system.certificates import (
    Credentials,
    find_trouble,
    make_context,
    read_credentials,
    seal,
    unseal,
)
from tests.certificates import (
    PASSWORD,
    Files,
    get_expired,
    get_other_server,
    get_server,
    write_chain,
    write_files,
)
from tests.system.children import list_fds


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path)


def configure(**settings: object) -> Config:
    texts = {name: str(value) for name, value in settings.items()}
    return Config(app="shop:app", **texts)  # type: ignore[arg-type] # all of these are texts


def read(**settings: object) -> Credentials:
    credentials = read_credentials(configure(**settings))
    assert credentials is not None
    return credentials


USABLE: list[Callable[[Files], dict[str, object]]] = [
    lambda files: {"certfile": files.chain, "keyfile": files.key},
    lambda files: {"certfile": files.both},
    lambda files: {"certfile": files.chain, "keyfile": files.both},
    lambda files: {"certfile": files.both, "keyfile": files.key},
    lambda files: {"certfile": files.chain, "keyfile": files.encrypted, "ssl_keyfile_password": PASSWORD},
    lambda files: {"certfile": files.both, "ca_certs": files.ca, "cert_reqs": "required"},
    lambda files: {"certfile": files.both, "ca_certs": files.ca, "cert_reqs": "optional"},
    lambda files: {"certfile": files.both, "ssl_min_version": "1.3", "ssl_ciphers": "ECDHE+AESGCM"},
]


@pytest.mark.parametrize("settings", USABLE)
def test_what_is_read_can_be_used_by_who_gets_it(
    files: Files, settings: Callable[[Files], dict[str, object]]
) -> None:
    before = list_fds()
    credentials = read(**settings(files))
    for path in files[1:]:
        assert isinstance(path, Path)
        path.unlink()
    fd = seal(credentials)
    handed_over = unseal(fd)
    os.close(fd)
    assert handed_over == credentials
    assert handed_over.find_first() == get_server().cert_chain_pems[0].bytes().decode()
    make_context(handed_over, configure(**settings(files)))
    assert list_fds() <= before


def test_without_a_certificate_there_is_no_tls() -> None:
    assert read_credentials(configure()) is None


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


REFUSED: list[tuple[Callable[[Files], dict[str, object]], str]] = [
    (lambda files: {"certfile": files.folder / "none.pem"}, "certfile {folder}/none.pem: no such file"),
    (lambda files: {"certfile": files.folder}, "certfile {folder}: is a directory"),
    (lambda files: {"certfile": files.key}, "certfile {folder}/key.pem: no certificate in it"),
    (lambda files: {"certfile": files.chain}, "certfile {folder}/chain.pem: no private key in it"),
    (
        lambda files: {"certfile": files.both, "keyfile": files.ca},
        "keyfile {folder}/ca.pem: no private key in it",
    ),
    (
        lambda files: {
            "certfile": files.chain,
            "keyfile": write(files.folder / "other.pem", get_other_server().private_key_pem.bytes()),
        },
        "keyfile {folder}/other.pem: not the key of the certificate in {folder}/chain.pem",
    ),
    (
        lambda files: {"certfile": files.chain, "keyfile": files.encrypted},
        "keyfile {folder}/encrypted.pem: the key is encrypted",
    ),
    (
        lambda files: {
            "certfile": files.chain,
            "keyfile": files.encrypted,
            "ssl_keyfile_password": "open wheat",
        },
        "keyfile {folder}/encrypted.pem: ssl-keyfile-password does not decrypt it",
    ),
    (
        lambda files: {
            "certfile": write(files.chain, files.chain.read_bytes().replace(b"M", b"N", 3)),
            "keyfile": files.key,
        },
        "certfile {folder}/chain.pem: not a certificate",
    ),
    (
        lambda files: {
            "certfile": files.chain,
            "keyfile": write(files.key, files.key.read_bytes()[:60] + b"\n"),
        },
        "keyfile {folder}/key.pem: OpenSSL refuses it",
    ),
    (
        lambda files: {
            "certfile": files.both,
            "cert_reqs": "required",
            "ca_certs": write(files.ca, b"nothing"),
        },
        "ca-certs {folder}/ca.pem: no certificates in it",
    ),
    (
        lambda files: {"certfile": files.both, "cert_reqs": "required"},
        "cert-reqs required without ca-certs",
    ),
    (lambda files: {"keyfile": files.key}, "keyfile without certfile"),
    (lambda files: {"ca_certs": files.ca}, "ca-certs without certfile"),
    (lambda _: {"cert_reqs": "optional"}, "cert-reqs optional without certfile"),
    (
        lambda files: {"certfile": files.both, "ssl_ciphers": "ROT13"},
        "ssl-ciphers ROT13: OpenSSL knows none of them",
    ),
    (lambda _: {"certfile": "/dev/zero"}, "certfile /dev/zero: too large for a PEM file"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_used_is_refused_by_name(
    files: Files, settings: Callable[[Files], dict[str, object]], message: str
) -> None:
    before = list_fds()
    with pytest.raises(ConfigError) as refused:
        read(**settings(files))
    assert refused.value.message.startswith(message.format(folder=files.folder))
    assert "open wheat" not in str(refused.value)
    assert list_fds() <= before


def test_a_file_that_may_not_be_read_is_a_matter_of_permission(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:

        def refuse(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr("builtins.open", refuse)
    else:
        files.both.chmod(0)
    with pytest.raises(NoPermissionError) as refused:
        read(certfile=files.both)
    assert refused.value.message == f"certfile {files.both}: no permission to read it"


def test_dates_are_told_and_are_no_reason_to_refuse(files: Files) -> None:
    assert find_trouble(read(certfile=files.both)) == ""
    write_chain(files.chain, get_expired())
    get_expired().private_key_pem.write_to_path(files.key)
    expired = read(certfile=files.chain, keyfile=files.key)
    assert find_trouble(expired) == "expired on Jan  1 00:00:00 2001 GMT"


def test_the_memory_they_are_handed_over_in_cannot_be_changed(files: Files) -> None:
    fd = seal(read(certfile=files.both))
    try:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    finally:
        os.close(fd)


def test_secrets_are_in_no_representation(files: Files) -> None:
    credentials = read(certfile=files.chain, keyfile=files.encrypted, ssl_keyfile_password=PASSWORD)
    assert repr(credentials) == "Credentials(…)"


def test_the_context_is_a_modern_one(files: Files) -> None:
    import ssl  # noqa: PLC0415

    config = configure(certfile=files.both)
    context = make_context(read(certfile=files.both), config)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_CIPHER_SERVER_PREFERENCE, ssl.OP_NO_RENEGOTIATION):
        assert context.options & option
