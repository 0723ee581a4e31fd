"""How what is set about proxies is read: addresses, fields, and the version of the PROXY protocol.

`pyserver._proxies` has the same words; the arbiter, which reads settings, does not load it.
"""

from __future__ import annotations

import socket

PROXY_PROTOCOLS = ("off", "v1", "v2", "auto")
FORWARDED_FIELDS = ("x-forwarded-for", "forwarded", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix")
# gunicorn's other words.
_WORDS = {"false": "off", "0": "off", "none": "off", "": "off", "true": "auto", "1": "auto"}
_NAME_THE_CLIENT = ("x-forwarded-for", "forwarded")


def check_peers(text: str) -> None:
    """Raise ValueError when it is neither an address, nor a network, nor "*"."""
    # Not the module `ipaddress`, which every process would carry from here on.
    address, slash, length = text.partition("/")
    family, bits = (socket.AF_INET6, 128) if ":" in address else (socket.AF_INET, 32)
    try:
        if text != "*":
            socket.inet_pton(family, address)
    except (OSError, UnicodeError):
        raise ValueError(f"{text!r} is neither an address, nor a network such as 10.0.0.0/8, nor *") from None
    if slash and not (length.isascii() and length.isdecimal() and int(length) <= bits):
        raise ValueError(f"{text!r} has the prefix length {length!r}, which is not a number from 0 to {bits}")


def read_proxy_protocol(raw: object) -> str:
    """One of PROXY_PROTOCOLS, or what is none for somebody else to refuse; a truth value as gunicorn takes it."""
    if raw is None or isinstance(raw, bool):
        return "auto" if raw else "off"
    if not isinstance(raw, str):
        raise ValueError(f"not one of {', '.join(PROXY_PROTOCOLS)}")
    word = raw.strip().lower()
    return _WORDS.get(word, word)


def read_forwarded_fields(raw: object) -> tuple[str, ...]:
    """Some of FORWARDED_FIELDS, in lower case; of those that name the client one at most."""
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise ValueError("neither text nor a list of texts")
    names = tuple(name for item in items if (name := item.strip().lower()))
    for name in names:
        if name not in FORWARDED_FIELDS:
            raise ValueError(f"but {name!r} is none of {', '.join(FORWARDED_FIELDS)}")
    if all(name in names for name in _NAME_THE_CLIENT):
        raise ValueError("but only one of them can name the client: take x-forwarded-for or forwarded")
    return names
