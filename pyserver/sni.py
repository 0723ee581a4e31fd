"""Certificates that are chosen by the name a client asks for, as they are set; RFC 6066 §3."""

from __future__ import annotations

from typing import NamedTuple


class NamedCertificate(NamedTuple):
    """One of those that are chosen by the name that a client asks for."""

    name: str  # in lower case; "*.example.org" stands for all names one label longer
    certfile: str
    keyfile: str | None


def parse_sni(text: str) -> NamedCertificate:
    """What NAME=CERTFILE[,KEYFILE] says.

    Raises:
        ValueError: it is not of that form.
    """
    name, separator, files = text.partition("=")
    certfile, _, keyfile = files.partition(",")
    name = name.strip().lower().removesuffix(".")
    if not separator or not name or not certfile:
        raise ValueError(f"{text!r} is not of the form NAME=CERTFILE or NAME=CERTFILE,KEYFILE")
    if not name.isascii() or "*" in name.removeprefix("*."):
        raise ValueError(f"{text!r} has the name {name!r}, which is neither a host name, in ASCII, nor *.DOMAIN")
    return NamedCertificate(name, certfile, keyfile or None)
