from pyserver._exchange import Transport
from pyserver._reactor import Reactor

class Lane(Transport):
    """Serves one connection at a time.

    Args:
        reactor: what it shares with the other lanes.
        number: of its row in the worker's slot; -1 for a lane in which nothing runs.
    """

    def __init__(self, reactor: Reactor, number: int) -> None: ...
    @property
    def number(self) -> int:
        """Of its row in the worker's slot on the scoreboard."""
    @property
    def busy_since_ns(self) -> int:
        """The monotonic start of the request that runs, nanoseconds; 0 while none does."""
    @property
    def alive_ns(self) -> int:
        """When that request began, or gave its client something last; monotonic, nanoseconds."""
    def serve(self) -> None:
        """Run the request that `on_request` was called for; by the greenlet that is its own, once.

        Raises:
            RuntimeError: it was called before.
        """
