"""Certificates and keys: read while we still may, refused while nothing depends on them, and made an SSL context.

The master reads them, for it alone keeps root's rights, and hands them to each zygote in memory that nobody can change
(`seal`). A zygote makes the context when the app's user is all it has left; its workers inherit it, and with it the
keys of session tickets, so that a client resumes its session with any of them.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from prefork.config.model import Config
from prefork.errors import ConfigError, NoPermissionError
from prefork.system import clock

if TYPE_CHECKING:
    import ssl

MOST_BYTES = 16 * 1024 * 1024
"""The largest file that is read: somebody may name a device, or a disk."""
_PEM_CERTIFICATE = "it must be PEM: text that begins with -----BEGIN CERTIFICATE-----"
_PEM_KEY = "it must be PEM: text that begins with -----BEGIN PRIVATE KEY-----"
_FROM_DER = "openssl x509 -inform der -in FILE -out FILE.pem makes it of a binary one"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
_F_ADD_SEALS, _ALL_SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8  # fcntl(2): seal, shrink, grow, write


class Credentials(msgspec.Struct, frozen=True):
    """What the files held, and the password of the key."""

    certificate: bytes
    key: bytes
    password: bytes | None
    authorities: bytes
    """Empty: none."""

    def __repr__(self) -> str:
        return "Credentials(…)"

    def find_first(self) -> str:
        """The certificate that is sent first, as PEM."""
        start = self.certificate.index(_CERTIFICATE)
        return (
            self.certificate[start : self.certificate.index(_END, start) + len(_END)].decode("ascii") + "\n"
        )


def read_credentials(config: Config) -> Credentials | None:
    """The files of this configuration, None without TLS. Raises `ConfigError` or `NoPermissionError` for whatever
    would keep a worker from using them, and names the file.
    """
    if config.certfile is None:
        for option, value in (
            ("keyfile", config.keyfile),
            ("ca-certs", config.ca_certs),
            ("ssl-keyfile-password", config.ssl_keyfile_password),
            ("ssl-ciphers", config.ssl_ciphers),
        ):
            if value is not None:
                raise ConfigError(f"{option} without certfile", "TLS needs the certificate: --certfile FILE")
        if config.cert_reqs != "none":
            raise ConfigError(f"cert-reqs {config.cert_reqs} without certfile", "add --certfile FILE")
        return None
    if config.cert_reqs != "none" and config.ca_certs is None:
        raise ConfigError(
            f"cert-reqs {config.cert_reqs} without ca-certs", "say who signs them: --ca-certs FILE"
        )
    certificate = _read("certfile", config.certfile)
    if _CERTIFICATE not in certificate or _END not in certificate:
        raise ConfigError(f"certfile {config.certfile}: no certificate in it", _PEM_CERTIFICATE, _FROM_DER)
    key = certificate if config.keyfile is None else _read("keyfile", config.keyfile)
    if _KEY not in key:
        hint = "--keyfile FILE says where it is" if config.keyfile is None else _PEM_KEY
        raise ConfigError(f"{_name_key(config)}: no private key in it", hint)
    authorities = b"" if config.ca_certs is None else _read("ca-certs", config.ca_certs)
    password = config.ssl_keyfile_password
    credentials = Credentials(
        certificate,
        key,
        None if password is None else password.encode("utf-8", "surrogateescape"),
        authorities,
    )
    make_context(credentials, config)
    return credentials


def find_trouble(credentials: Credentials) -> str:
    """What clients will hold against the certificate although we can use it: its dates. Empty: nothing."""
    import ssl  # noqa: PLC0415  # only with TLS

    with _as_file(credentials.certificate) as path:
        dates = _decode(path)
    now = clock.wall_ns() / 1e9
    if ssl.cert_time_to_seconds(dates["notAfter"]) < now:
        return f"expired on {dates['notAfter']}"
    if ssl.cert_time_to_seconds(dates["notBefore"]) > now:
        return f"not valid before {dates['notBefore']}"
    return ""


def make_context(credentials: Credentials, config: Config) -> ssl.SSLContext:
    """With what connections are encrypted. Raises `ConfigError`, naming the file or the option."""
    import ssl  # noqa: PLC0415  # only with TLS

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if config.ssl_min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    if config.ssl_ciphers is not None:
        try:
            context.set_ciphers(config.ssl_ciphers)
        except ssl.SSLError:
            raise ConfigError(
                f"ssl-ciphers {config.ssl_ciphers}: OpenSSL knows none of them",
                "openssl ciphers -v lists what it knows",
            ) from None
    _load_key(context, credentials, config)
    if credentials.authorities:
        try:
            with _as_file(credentials.authorities) as path:
                context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise ConfigError(
                f"ca-certs {config.ca_certs}: no certificates in it ({_explain(error)})",
                _PEM_CERTIFICATE,
            ) from None
    context.verify_mode = {
        "none": ssl.CERT_NONE,
        "optional": ssl.CERT_OPTIONAL,
        "required": ssl.CERT_REQUIRED,
    }[config.cert_reqs]
    return context


def _load_key(context: ssl.SSLContext, credentials: Credentials, config: Config) -> None:
    import ssl  # noqa: PLC0415

    was_asked = False

    def tell_password() -> bytes:
        nonlocal was_asked
        was_asked = True
        return credentials.password or b""  # without a callback OpenSSL asks at the terminal

    with _as_file(credentials.certificate) as certificate, _as_file(credentials.key) as key:
        try:
            _decode(certificate)
        except ssl.SSLError as error:
            raise ConfigError(
                f"certfile {config.certfile}: not a certificate ({_explain(error)})",
                _PEM_CERTIFICATE,
                _FROM_DER,
            ) from None
        try:
            context.load_cert_chain(certificate, key, tell_password)
        except ssl.SSLError as error:
            where = _name_key(config)
            if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
                raise ConfigError(
                    f"{where}: not the key of the certificate in {config.certfile}",
                    "these print the same where they belong together:",
                    f"openssl x509 -noout -pubkey -in {config.certfile}",
                    f"openssl pkey -pubout -in {config.keyfile or config.certfile}",
                ) from None
            if was_asked and credentials.password is None:
                raise ConfigError(
                    f"{where}: the key is encrypted", "set PREFORK_SSL_KEYFILE_PASSWORD, or decrypt the key"
                ) from None
            if was_asked:
                raise ConfigError(
                    f"{where}: ssl-keyfile-password does not decrypt it",
                    f"openssl pkey -noout -in {config.keyfile or config.certfile} asks for it and says if it is right",
                ) from None
            raise ConfigError(f"{where}: OpenSSL refuses it ({_explain(error)})") from None


def seal(credentials: Credentials) -> int:
    """A descriptor of memory that holds them, and that nobody can change: see memfd_create(2)."""
    fd = _open_memory(msgspec.msgpack.encode(credentials))
    if hasattr(os, "memfd_create"):
        import fcntl  # noqa: PLC0415

        fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)
    return fd


def unseal(fd: int) -> Credentials:
    """What `seal` put there. The descriptor stays open."""
    size = os.fstat(fd).st_size
    return msgspec.msgpack.decode(os.pread(fd, size, 0), type=Credentials)


def _name_key(config: Config) -> str:
    return f"certfile {config.certfile}" if config.keyfile is None else f"keyfile {config.keyfile}"


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except PermissionError:
        raise NoPermissionError(
            f"{option} {path}: no permission to read it",
            "start as its owner or as root with --user: it is read before that takes effect",
        ) from None
    except OSError as error:
        hints = [f"there is no {posixpath.dirname(path)}"] if not os.path.isdir(os.path.dirname(path)) else []
        hints.append(
            f"one to try with: openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -out {path} -keyout {path}"
            if option == "certfile"
            else f"--{option} FILE says where it is"
        )
        raise ConfigError(
            f"{option} {path}: {(error.strerror or 'cannot be read').lower()}", *hints
        ) from None
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{option} {path}: too large for a PEM file")
    return data


def _decode(path: str) -> dict[str, str]:
    """The first certificate's fields. Python has no public function for a certificate that is nobody's peer."""
    import _ssl  # noqa: PLC0415

    decoded: dict[str, str] = _ssl._test_decode_cert(path)  # type: ignore[attr-defined]  # noqa: SLF001
    return decoded


def _explain(error: ssl.SSLError) -> str:
    # An error that Python raises by itself has no reason.
    return (getattr(error, "reason", None) or "not PEM").lower().replace("_", " ")


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path under which OpenSSL finds these bytes; nothing is on a disk."""
    fd = _open_memory(data)
    try:
        yield f"/proc/self/fd/{fd}" if sys.platform.startswith("linux") else f"/dev/fd/{fd}"
    finally:
        os.close(fd)


def _open_memory(data: bytes) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("prefork", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        import tempfile  # noqa: PLC0415  # 8 ms that Linux does not pay

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)  # where /dev/fd/N is a duplicate, it is read from here
    return fd
