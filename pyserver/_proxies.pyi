from collections.abc import Mapping, Sequence
from typing import Any

RELAYED: tuple[str, ...]
VERSIONS: Mapping[str, int]
FIELDS: Mapping[str, int]

class Peers:
    """A set of addresses; call it with one as text. A Unix socket, "", is always in it: a directory decides who has it.

    Args:
        allowed: addresses, networks such as 10.0.0.0/8, or "*" for every address.

    Raises:
        ValueError: one is none of these.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None: ...
    def __call__(self, address: str) -> bool:
        """Whether it has this address; ValueError when it is none."""

class Proxies:
    """What is believed of whom. Immutable.

    Args:
        trusted: the peers whose fields are believed; see `Peers`.
        forwarder_headers: names of fields with an underscore that they may set; "*" for all.
        forwarded_fields: those of FIELDS in which they say how the client has come.
        forwarded_hops: how many proxies each request passes; 0 where those are that are `trusted`.
        proxy_protocol: one of VERSIONS.
        proxy_allow_ips: the peers that may send a PROXY header.
        proxy_protocol_required: whether each connection has to begin with one.
    """

    def __init__(
        self,
        *,
        trusted: Sequence[str] = (),
        forwarder_headers: Sequence[str] = (),
        forwarded_fields: Sequence[str] = (),
        forwarded_hops: int = 0,
        proxy_protocol: str = "off",
        proxy_allow_ips: Sequence[str] = (),
        proxy_protocol_required: bool = False,
    ) -> None: ...
    def understood(self, head: bytes) -> dict[str, Any]:
        """What is believed of a request head that came from somebody trusted, for tests and fuzzers.

        Raises:
            ValueError: it is no complete head.
        """

def read_header(
    text: bytes, versions: str
) -> tuple[int, str, tuple[str, int] | None, tuple[str, int] | None] | None:
    """What a PROXY header at the beginning of `text` says, for tests and fuzzers; None while it is not all there.

    Returns:
        Its length, what is relayed, and the addresses of client and destination as pairs, or None where it has none;
        (0, "", None, None) where there is no header, and (-1, "", None, None) where it is malformed.
    """
