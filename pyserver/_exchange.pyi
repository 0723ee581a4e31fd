class Transport:
    """What carries responses: the engine. Its methods are compiled parts' alone."""

class Gateway:
    """What an engine hands complete requests to. Its methods are compiled parts' alone."""

class Exchange:
    """One request in flight. Its methods are compiled parts' alone."""
