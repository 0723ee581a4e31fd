from pyserver._reactor import Reactor

class Stewarded(Reactor):
    """A reactor whose connections somebody looks after while the worker is busy."""

    def start_steward(self) -> None:
        """Begin, in the process that serves; OSError when the system has no room for another thread."""
