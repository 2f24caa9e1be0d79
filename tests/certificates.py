"""Certificates for tests: an authority, what it signed for a server and for a client, and keys that are wrong."""

from __future__ import annotations

import datetime as dt
import functools
import ssl
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography.hazmat.primitives import serialization

PASSWORD = "open sesame"


class Files(NamedTuple):
    """PEM files in one folder."""

    folder: Path
    ca: Path
    chain: Path
    key: Path
    both: Path
    """The key and the certificate."""
    client: Path
    """A client's key and certificate."""
    client_cert: Path
    encrypted: Path
    """`key`, encrypted with `PASSWORD`."""


@functools.cache
def get_authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def get_server() -> trustme.LeafCert:
    return get_authority().issue_cert("localhost", "127.0.0.1")


@functools.cache
def get_other_server() -> trustme.LeafCert:
    """A second one of the same authority's: what a renewed certificate is."""
    return get_authority().issue_cert("localhost", "127.0.0.1")


@functools.cache
def get_client() -> trustme.LeafCert:
    return get_authority().issue_cert("alice@example.org", common_name="alice, the first")


@functools.cache
def get_expired() -> trustme.LeafCert:
    long_ago = dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc)
    return get_authority().issue_cert("localhost", not_after=long_ago)


def write_chain(path: Path, cert: trustme.LeafCert) -> None:
    path.write_bytes(b"".join(each.bytes() for each in cert.cert_chain_pems))


def write_files(folder: Path) -> Files:
    names = ("ca.pem", "chain.pem", "key.pem", "both.pem", "client.pem", "client-cert.pem", "encrypted.pem")
    files = Files(folder, *(folder / name for name in names))
    server, client = get_server(), get_client()
    get_authority().cert_pem.write_to_path(files.ca)
    write_chain(files.chain, server)
    server.private_key_pem.write_to_path(files.key)
    server.private_key_and_cert_chain_pem.write_to_path(files.both)
    client.private_key_and_cert_chain_pem.write_to_path(files.client)
    write_chain(files.client_cert, client)
    files.encrypted.write_bytes(encrypt(server.private_key_pem.bytes()))
    return files


def encrypt(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )


def make_client_context(*, with_certificate: bool = False) -> ssl.SSLContext:
    """A client that believes our authority."""
    context = ssl.create_default_context(cadata=get_authority().cert_pem.bytes().decode())
    if with_certificate:
        get_client().configure_cert(context)
    return context


def make_server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    get_server().configure_cert(context)
    return context
