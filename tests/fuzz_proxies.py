"""Look for input that _proxies gets wrong, for a bounded time: python tests/fuzz_proxies.py --seconds N [--seed S].

PROXY headers are made at random and judged whole, in parts, and by a reader in Python. Of fields, whatever a client has
written before what a proxy adds, nobody else than the proxy's client may be found.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from fuzzing import Finding, Fuzzer, Kind

from pyserver import _proxies
from pyserver._proxies import Proxies, read_header

if TYPE_CHECKING:
    import random
    from collections import Counter

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
WORDS = [
    *(b"TCP4", b"TCP6", b"UNKNOWN", b"UDP4", b"192.0.2.1", b"10.0.0.1", b"255.255.255.255", b"2001:db8::1", b"::"),
    *(b"0", b"1", b"65535", b"65536", b"007", b"-1", b"", b"x", b"\0", b"\r", b"\n", b"f" * 90),
]
PIECES = [
    *("for=", "For=", "host=", "proto=", "by=", "secret=", ";", ",", '"', "\\", "\\\"", " ", "\t", "=", "[", "]", ":"),
    *("203.0.113.9", "10.0.0.1", "[2001:db8::bad]", "fd00::1", "unknown", "_hidden", "https", "evil.example", "4711"),
    *('for="[2001:db8::bad]:80"', "for=203.0.113.9", 'x="a, b"', "\xe4", "()", "for=10.0.0.1;proto=https"),
]
# What a proxy adds, and whom it names.
ADDED = {
    "for=192.0.2.1": ("192.0.2.1", 0),
    "for=192.0.2.1;proto=http;by=10.0.0.1": ("192.0.2.1", 0),
    'for="[2001:db8::1]:4711";host="shop.example:443";proto=https': ("2001:db8::1", 4711),
    'proto=https;host=shop.example;for="192.0.2.1:80"': ("192.0.2.1", 80),
}
LISTED = {"192.0.2.1": ("192.0.2.1", 0), "[2001:db8::1]:80": ("2001:db8::1", 80), "2001:db8::1": ("2001:db8::1", 0)}
OWN_HOSTS = (None, b"shop.example", b"shop.example:443")


class Way(NamedTuple):
    """What a client has written into a field, and what its proxy has added to it."""

    name: str
    written: str
    added: str
    in_one_line: bool


def header(rng: random.Random) -> bytes:
    """Something like a PROXY header."""
    if rng.random() < 0.5:
        words = [b"PROXY", rng.choice(WORDS[:3]), *rng.choices(WORDS, k=rng.choice((0, 3, 4, 4, 4, 4, 5)))]
        text = b" ".join(words) + rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""))
    else:
        rest = rng.randbytes(rng.choice((0, 11, 12, 13, 35, 36, 50, 215, 216, 4080, 4081)))
        length = len(rest) if rng.random() < 0.8 else rng.randrange(65536)
        command = rng.choice((0x21, 0x21, 0x20, 0x11, 0x22))
        family = rng.choice((0x11, 0x21, 0x31, 0, 0x12, 0x10, 0x41))
        text = SIGNATURE + struct.pack("!BBH", command, family, length) + rest
    if rng.random() < 0.2:
        at = rng.randrange(len(text))
        text = text[:at] + rng.randbytes(1) + text[at + 1 :]
    return text + rng.choice((b"", b"GET / HTTP/1.1\r\n"))


def way(rng: random.Random) -> Way:
    """A field as it arrives behind a proxy."""
    written = "".join(rng.choices(PIECES, k=rng.randrange(12)))
    name = rng.choice(("Forwarded", "X-Forwarded-For"))
    return Way(name, written, rng.choice(list(ADDED if name == "Forwarded" else LISTED)), rng.random() < 0.7)


def is_address(family: int, text: bytes) -> bool:
    try:
        return b"\0" not in text and bool(socket.inet_pton(family, text.decode("ascii")))
    except (OSError, ValueError):
        return False


def expected(text: bytes) -> tuple[Any, ...] | None:
    """The length, and the client's address, of a complete header; None for one that is refused or is none."""
    if text.startswith(SIGNATURE) and len(text) >= 16:
        first, kind, length = struct.unpack("!BBH", text[12:16])
        families = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}
        family, width = families.get(kind, (0, 0))
        if first != 0x21 or not family or length < 2 * width + 4 or 16 + length > min(4096, len(text)):
            return None
        (port,) = struct.unpack("!H", text[16 + 2 * width : 18 + 2 * width])
        return 16 + length, (socket.inet_ntop(family, text[16 : 16 + width]), port)
    matched = re.match(rb"PROXY TCP([46]) ([^ \r\n]+) ([^ \r\n]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n", text)
    if not matched or matched.end() > 107 or max(int(matched[4]), int(matched[5])) > 65535:
        return None
    family = socket.AF_INET if matched[1] == b"4" else socket.AF_INET6
    if not (is_address(family, matched[2]) and is_address(family, matched[3])):
        return None
    return matched.end(), (socket.inet_ntop(family, socket.inet_pton(family, matched[2].decode())), int(matched[4]))


def look_at_header(text: bytes, _: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether a header is read as in Python, and whether it is the same however much of it is there at first."""
    said = [read_header(text[:end], "auto") for end in range(len(text) + 1)]
    decided = [one for one in said if one is not None]
    if len(set(decided)) > 1 or (decided and said[-1] is None):
        return Finding(repr(text), f"is judged otherwise in parts: {set(decided)}")
    wanted = expected(text)
    if wanted is not None and (not decided or (decided[-1][0], decided[-1][2]) != wanted):
        return Finding(repr(text), f"is read as {said[-1]} and not as {wanted}")
    if wanted is None and decided and decided[-1][2] is not None:
        return Finding(repr(text), f"is read as {decided[-1]}")
    seen["headers read" if wanted else "headers refused or none"] += 1
    return None


def look_at_way(made: Way, _: random.Random, seen: Counter[str]) -> Finding | None:
    """Whether the proxy's client is found, or nobody."""
    values = [f"{made.written}, {made.added}"] if made.in_one_line else [made.written, made.added]
    lines = ["GET / HTTP/1.1", "Host: a", *(f"{made.name}: {value}" for value in values), "", ""]
    proxies = Proxies(trusted=("10.0.0.0/8", "fd00::/8"), forwarded_fields=(made.name.lower(),))
    said = proxies.understood("\r\n".join(lines).encode("latin-1"))
    right = {**ADDED, **LISTED}[made.added]
    # A quote that the client has left open makes one line of Forwarded malformed; nothing else can stand in the way.
    may_be_nobody = made.name == "Forwarded" and made.in_one_line
    if said["client"] != right and not (said["client"] is None and may_be_nobody):
        return Finding(repr(made), f"the client is {said['client']}")
    if said["host"] not in OWN_HOSTS:
        return Finding(repr(made), f"the host is {said['host']}")
    seen["clients found" if said["client"] else "nobody found"] += 1
    return None


FUZZER = Fuzzer(__doc__, _proxies.__file__, [Kind(1, header, look_at_header), Kind(1, way, look_at_way)])

if __name__ == "__main__":
    sys.exit(FUZZER.main())
