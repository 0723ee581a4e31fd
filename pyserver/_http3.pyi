from typing import Any

from pyserver._carried import CarriedStream
from pyserver._channel import Session
from pyserver._reactor import Reactor

class HTTP3Session(Session):
    """The server's side of one connection of QUIC.

    Args:
        reactor: the engine.
        quic: the connection of aioquic, of which no event has been taken.
        peer: has `transmit()`, which sends what QUIC has to send.
        listener: which of the gateway's servers the client is connected to.
        streams: requests at the same time.
        field_list: bytes of a request's fields, counted as RFC 9114 §4.2.2 does.
    """

    carried: int
    departing: int
    is_closed: bool
    has_asked: bool
    quiet_since_ns: int
    def __init__(
        self, reactor: Reactor, quic: Any, peer: Any, *, listener: int, streams: int, field_list: int
    ) -> None: ...
    def begin(self) -> None:
        """It is one of the worker's connections from now on."""
    def take(self) -> None:
        """Act on what QUIC has to tell, and have sent what follows from it."""
    def depart(self, at_once: bool = False) -> None:
        """Say GOAWAY: first that nothing more is to be asked, then, or `at_once`, what is not answered any more."""
    def close(self, code: int = 0x100, why: str = "") -> None:
        """Have the client told that all is over; then it is none of the worker's connections any more."""
    def note_begun(self, number: int) -> None:
        """Something has come of a request whose head has not."""
    def expire_heads(self, latest_ns: int) -> None:
        """Refuse the requests that have begun by then, and whose heads have not come."""
    @property
    def oldest_head_ns(self) -> int:
        """When the oldest request has begun whose head has not come; 0 where there is none."""
    def is_settled(self) -> bool:
        """Whether nothing is asked, and the client has all that was answered."""
    def credit(self, number: int) -> int:
        """Bytes of content of a stream of QUIC that nobody has received yet."""
    @property
    def all_owed(self) -> int:
        """The same of all streams."""
    @property
    def all_kept(self) -> int:
        """Bytes of frames of which not all has come."""

class HTTP3Stream(CarriedStream):
    """One stream."""
