class Transport:
    """What carries responses: a lane. Its methods are compiled parts' alone."""

class Gateway:
    """What complete requests are handed to. Its methods are compiled parts' alone."""

class Exchange:
    """One request in flight. Its methods are compiled parts' alone."""

class Stream(Exchange):
    """A request that runs beside others. Its methods are compiled parts' alone."""
