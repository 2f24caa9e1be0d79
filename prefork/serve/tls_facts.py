"""What an app is told of its connection's TLS: ASGI's `tls` extension, and the variables of mod_ssl for WSGI.

https://asgi.readthedocs.io/en/latest/specs/tls.html, https://httpd.apache.org/docs/current/mod/mod_ssl.html
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, NamedTuple

# RFC 4514 §3; whatever else a certificate has keeps OpenSSL's name.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class Tls(NamedTuple):
    """With what a worker speaks TLS."""

    context: ssl.SSLContext
    server_cert: str
    """The first certificate that we send, as PEM."""


def describe_for_asgi(transport: asyncio.Transport) -> dict[str, Any]:
    """The scope's `extensions` of a connection; empty when it is not we who speak TLS on it."""
    session: ssl.SSLObject = transport.get_extra_info("ssl_object")
    tls: Tls | None = transport.get_extra_info("tls")
    if tls is None:
        return {}
    cipher = session.cipher()
    peer = session.getpeercert()
    return {
        "tls": {
            "server_cert": tls.server_cert,
            "client_cert_chain": [ssl.DER_cert_to_PEM_cert(each) for each in _find_chain(session)],
            "client_cert_name": _write_name(peer["subject"]) if peer else None,
            "client_cert_error": None,  # whoever has a bad one does not get past the handshake
            "tls_version": _VERSIONS.get(session.version() or ""),
            "cipher_suite": _find_cipher_number(tls.context, cipher[0]) if cipher else None,
        }
    }


def describe_for_wsgi(transport: asyncio.Transport) -> dict[str, str]:
    """What TLS adds to the environ; HTTPS alone when somebody else speaks it."""
    session: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if session is None:
        return {"HTTPS": "on"}
    cipher = session.cipher()
    facts = {
        "HTTPS": "on",
        "SSL_PROTOCOL": session.version() or "",
        "SSL_CIPHER": cipher[0] if cipher else "",
        "SSL_CLIENT_VERIFY": "NONE",
    }
    peer = session.getpeercert()
    if peer:
        facts |= {
            "SSL_CLIENT_VERIFY": "SUCCESS",
            "SSL_CLIENT_S_DN": _write_name(peer["subject"]),
            "SSL_CLIENT_I_DN": _write_name(peer["issuer"]),
            "SSL_CLIENT_M_SERIAL": str(peer["serialNumber"]),
            "SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(_find_chain(session)[0]),
        }
    # Native strings (PEP 3333): each character a byte of the text's UTF-8.
    return {name: text.encode("utf-8").decode("latin-1") for name, text in facts.items()}


def _find_chain(session: ssl.SSLObject) -> list[bytes]:
    """The client's certificate, and behind it what else it sent, where Python can say (3.13)."""
    own = session.getpeercert(binary_form=True)
    if not own:
        return []
    find = getattr(session, "get_unverified_chain", None)
    return [own] if find is None else list(find())


def _find_cipher_number(context: ssl.SSLContext, name: str) -> int | None:
    # OpenSSL numbers a suite as 0x0300 followed by the two bytes of the standard's.
    return next((each["id"] & 0xFFFF for each in context.get_ciphers() if each["name"] == name), None)


def _write_name(name: Any) -> str:
    """A distinguished name as RFC 4514 writes it: the last part first."""
    return ",".join(
        "+".join(f"{_SHORT.get(kind, kind)}={_escape(value)}" for kind, value in part)
        for part in reversed(name)
    )


def _escape(value: str) -> str:
    # RFC 4514 §2.4
    text = "".join("\\" + c if c in ',+"\\<>;' else "\\00" if c == "\0" else c for c in value)
    if text[:1] in {" ", "#"}:
        text = "\\" + text
    if text.endswith(" ") and len(value) > 1:
        text = text[:-1] + "\\ "
    return text
