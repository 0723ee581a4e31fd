"""What an application is told of a connection over TLS."""

from __future__ import annotations

import functools
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# RFC 4514 §3; others are written as OpenSSL names them.
_SHORT_NAMES = {
    "commonName": "CN", "localityName": "L", "stateOrProvinceName": "ST", "organizationName": "O",
    "organizationalUnitName": "OU", "countryName": "C", "streetAddress": "STREET", "domainComponent": "DC",
    "userId": "UID",
}  # fmt: skip
_WIRE_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def client_variables(session: ssl.SSLObject) -> dict[str, str]:
    """For environ: who the client is, as its certificate says; nothing where it was not asked for one."""
    if session.context.verify_mode == ssl.CERT_NONE:
        return {}
    found = session.getpeercert()
    data = session.getpeercert(True)
    if not found or not data:
        return {"SSL_CLIENT_VERIFY": "NONE"}
    told = {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_S_DN": _name_of(found.get("subject", ())),
        "SSL_CLIENT_I_DN": _name_of(found.get("issuer", ())),
        "SSL_CLIENT_M_SERIAL": str(found.get("serialNumber", "")),
        "SSL_CLIENT_V_START": str(found.get("notBefore", "")),
        "SSL_CLIENT_V_END": str(found.get("notAfter", "")),
        "SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(data),
    }
    # PEP 3333: text in environ is bytes, a character for each.
    return {key: value.encode().decode("latin-1") for key, value in told.items()}


def extension(session: ssl.SSLObject) -> dict[str, object]:
    """The extension `tls` of an ASGI scope, version 0.2."""
    found = session.getpeercert() if session.context.verify_mode != ssl.CERT_NONE else None
    cipher = session.cipher()
    known = {row["name"]: row["id"] & 0xFFFF for row in _ciphers(session.context)}
    return {
        "server_cert": getattr(session.context, "certificate", None),
        "client_cert_chain": _chain(session) if found else [],
        "client_cert_name": _name_of(found.get("subject", ())) if found else None,
        "client_cert_error": None,
        "tls_version": _WIRE_VERSIONS.get(session.version() or ""),
        "cipher_suite": known.get(cipher[0]) if cipher else None,
    }


@functools.cache
def _ciphers(context: ssl.SSLContext) -> list[Any]:
    return context.get_ciphers()


def _chain(session: ssl.SSLObject) -> list[str]:
    """What the client has shown: its certificate, and those of its issuers."""
    # From Python 3.13 on it is a method of the session itself.
    inner: Any = session if hasattr(session, "get_unverified_chain") else getattr(session, "_sslobj", None)
    shown: Sequence[Any] = inner.get_unverified_chain() or () if hasattr(inner, "get_unverified_chain") else ()
    if not shown:
        data = session.getpeercert(True)
        shown = [data] if data else []
    return [ssl.DER_cert_to_PEM_cert(one) if isinstance(one, bytes) else one.public_bytes() for one in shown]


def _name_of(name: Any) -> str:
    """A distinguished name as RFC 4514 writes it: the last part of it first."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(key, key)}={_escaped(value)}" for key, value in part) for part in reversed(name)
    )


def _escaped(value: str) -> str:
    """RFC 4514 §2.4."""
    text = "".join("\\" + c if c in '",+;<>\\' else "\\00" if c == "\0" else c for c in value)
    if text[:1] in ("#", " "):
        text = "\\" + text
    return text[:-1] + "\\ " if len(text) > 1 and text.endswith(" ") else text
