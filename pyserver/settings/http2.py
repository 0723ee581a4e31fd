"""How what is set about the versions of HTTP is read."""

from __future__ import annotations

from pyserver.sockets import parse_address, scheme_of

CLEARTEXT = ("off", "prior-knowledge", "upgrade", "both")

_SPELLINGS = {
    "h1": "h1", "1": "h1", "1.1": "h1", "http/1.1": "h1",
    "h2": "h2", "2": "h2", "http/2": "h2",
    "h3": "h3", "3": "h3", "http/3": "h3",
}  # fmt: skip


def read_protocols(raw: object) -> tuple[str, ...]:
    """Of a comma list or a sequence of versions, h1, h2 and h3, each once and in their order."""
    words = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(words, (list, tuple)):
        raise ValueError("no list of h1, h2 and h3")
    read = []
    for word in words:
        protocol = _SPELLINGS.get(str(word).strip().lower())
        if protocol is None:
            raise ValueError(f"{str(word).strip()!r} is none of h1, h2 and h3")
        read.append(protocol)
    if not {"h1", "h2"} & {*read}:
        raise ValueError("it must name h1 or h2, or both")
    return tuple(dict.fromkeys(read))


def check_quic_address(text: str) -> None:
    """Raise ValueError unless it is an address for QUIC: HOST:PORT."""
    address = parse_address(text)
    if not address.host or scheme_of(text):
        raise ValueError(f"{text!r} is not HOST:PORT, where datagrams of QUIC come")
